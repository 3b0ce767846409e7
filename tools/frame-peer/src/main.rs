//! A raw-frame peer for hand use: serve a guest, look at it, or attack it.
//!
//! ```text
//! frame-peer serve   --listen /tmp/link --dhcp 10.0.2.15 --echo 7
//! frame-peer hostile --listen /tmp/link --guest 10.0.2.15 --port 5001
//! frame-peer relay   listen:/tmp/link tap:tap0 --wire loss=1%,delay=10ms
//! frame-peer cases
//! qemu-system-x86_64 … -netdev stream,id=n0,server=off,addr.type=unix,addr.path=/tmp/link
//! ```
#![forbid(unsafe_code)]

mod join;

use std::error::Error;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use frame_peer::hostile::{Aim, catalogue, storm};
use frame_peer::{DnsConfig, FaultRates, Options, Peer};

/// Our own host on the other end of a guest's network link.
#[derive(Parser)]
#[command(name = "frame-peer", version)]
struct Cli {
    #[command(subcommand)]
    command: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Serves ARP, ICMP echo and what is asked for, until interrupted.
    Serve {
        #[command(flatten)]
        link: Link,
        /// Offer this address by DHCP.
        #[arg(long, value_name = "ADDRESS")]
        dhcp: Option<Ipv4Addr>,
        /// Seconds of the lease.
        #[arg(long, default_value_t = 3600)]
        lease: u32,
        /// A name for the DNS server, as NAME=ADDRESS; repeatable.
        #[arg(long, value_name = "NAME=ADDRESS", value_parser = parse_name)]
        name: Vec<(String, Ipv4Addr)>,
        /// Echo UDP and TCP at this port.
        #[arg(long, value_name = "PORT")]
        echo: Option<u16>,
    },
    /// Sends the catalogue of hostile frames, or one case of it.
    Hostile {
        #[command(flatten)]
        link: Link,
        /// The guest's address.
        #[arg(long)]
        guest: Ipv4Addr,
        /// A port of the guest with a UDP and TCP service.
        #[arg(long)]
        port: u16,
        /// Only this case.
        #[arg(long)]
        case: Option<String>,
        /// Then this many frames at random.
        #[arg(long, default_value_t = 0, value_name = "FRAMES")]
        storm: usize,
    },
    /// Joins two ends by a wire that loses, delays and mixes up frames.
    Relay(join::Join),
    /// Lists the cases with the reason for which each is to be dropped.
    Cases,
}

#[derive(Args)]
struct Link {
    /// Wait for QEMU at this Unix socket (`server=off` there).
    #[arg(long, value_name = "SOCKET", required_unless_present = "connect")]
    listen: Option<PathBuf>,
    /// Connect to QEMU at this Unix socket (`server=on` there).
    #[arg(long, value_name = "SOCKET", conflicts_with = "listen")]
    connect: Option<PathBuf>,
    /// Our own address.
    #[arg(long, default_value = "10.0.2.2")]
    address: Ipv4Addr,
    /// Largest IP packet.
    #[arg(long, default_value_t = 1500)]
    mtu: usize,
    /// Seed of everything random.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Capture the link.
    #[arg(long, value_name = "FILE")]
    pcap: Option<PathBuf>,
    /// Thousandths of the frames lost, each way.
    #[arg(long, default_value_t = 0, value_name = "PER_MILLE")]
    loss: u16,
    /// Thousandths of the frames doubled, each way.
    #[arg(long, default_value_t = 0, value_name = "PER_MILLE")]
    duplicate: u16,
    /// Thousandths of the frames reordered, each way.
    #[arg(long, default_value_t = 0, value_name = "PER_MILLE")]
    reorder: u16,
}

impl Link {
    fn options(&self) -> Options {
        let (loss, duplicate, reorder) = (self.loss, self.duplicate, self.reorder);
        let faults = FaultRates {
            loss,
            duplicate,
            reorder,
            corrupt: 0,
        };
        Options {
            address: self.address,
            mtu: self.mtu,
            seed: self.seed,
            pcap: self.pcap.clone(),
            to_guest: faults,
            from_guest: faults,
            ..Options::default()
        }
    }

    fn open(&self, options: &Options) -> io::Result<Peer> {
        match (&self.listen, &self.connect) {
            (Some(path), _) => Peer::listen(path, options),
            (None, Some(path)) => Peer::connect(path, options, Duration::from_secs(10)),
            (None, None) => Err(io::ErrorKind::InvalidInput.into()),
        }
    }
}

fn parse_name(text: &str) -> Result<(String, Ipv4Addr), String> {
    let (name, address) = text.split_once('=').ok_or("expected NAME=ADDRESS")?;
    Ok((
        name.to_owned(),
        address.parse().map_err(|e| format!("{address}: {e}"))?,
    ))
}

fn serve(peer: &Peer) -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(5));
        println!("{:?} {:?}", peer.stats(), peer.dhcp_stats());
    }
}

fn attack(
    peer: &Peer,
    guest: SocketAddrV4,
    seed: u64,
    only: Option<&str>,
    random: usize,
) -> Result<(), Box<dyn Error>> {
    println!("waiting for the guest");
    let patience = Duration::from_secs(60);
    if !peer.wait_linked(patience) {
        return Err("no guest on the link".into());
    }
    let mac = (0..30).find_map(|_| peer.resolve(*guest.ip(), Duration::from_secs(2)).ok());
    let mac = mac.ok_or("the guest does not answer ARP")?;
    let mut aim = Aim::new(
        (peer.mac(), peer.address()),
        (mac, *guest.ip()),
        guest.port(),
        seed,
    );
    for case in catalogue().filter(|case| only.is_none_or(|name| name == case.name)) {
        let frames = case.frames(&mut aim);
        frames.iter().try_for_each(|frame| peer.send_frame(frame))?;
        let alive = peer
            .ping(*guest.ip(), b"alive", Duration::from_secs(5))
            .is_ok();
        let verdict = if alive { "ok" } else { "NO ANSWER" };
        println!(
            "{:32} {:14} {:5} frames  {verdict}",
            case.name,
            case.reason,
            frames.len()
        );
    }
    storm(&mut aim, random)
        .iter()
        .try_for_each(|frame| peer.send_frame(frame))?;
    let after = peer.ping(*guest.ip(), b"alive", Duration::from_secs(5))?;
    println!("the guest answers after all, in {after:?}");
    Ok(())
}

fn run(action: Action) -> Result<(), Box<dyn Error>> {
    match action {
        Action::Serve {
            link,
            dhcp,
            lease,
            name,
            echo,
        } => {
            let mut options = link.options();
            if let Some(address) = dhcp {
                options = options.with_dhcp(address);
            }
            if let Some(dhcp) = &mut options.dhcp {
                dhcp.lease = lease;
            }
            let table = DnsConfig {
                ttl: 60,
                ..DnsConfig::default()
            };
            options.dns = Some(
                name.iter()
                    .fold(table, |table, (name, at)| table.with(name, *at)),
            );
            let peer = link.open(&options)?;
            echo.map(|port| peer.serve_echo(port)).transpose()?;
            serve(&peer)
        }
        Action::Hostile {
            link,
            guest,
            port,
            case,
            storm,
        } => {
            let peer = link.open(&link.options())?;
            attack(
                &peer,
                SocketAddrV4::new(guest, port),
                link.seed,
                case.as_deref(),
                storm,
            )
        }
        Action::Relay(join) => join.run(),
        Action::Cases => {
            catalogue().for_each(|case| println!("{:32} {}", case.name, case.reason));
            Ok(())
        }
    }
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("frame-peer: {error}");
            ExitCode::FAILURE
        }
    }
}
