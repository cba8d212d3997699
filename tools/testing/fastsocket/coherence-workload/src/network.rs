// SPDX-License-Identifier: GPL-2.0

//! The network of clients and servers, and what TCP is to do there.

use crate::{net, Addresses, Args, Network};
use fastsocket_guest::{
    init::{mount, named, receive_on},
    sys,
};
use std::{fs, io, process::Command};

/// iproute2's command, if the guest is to have more than the loopback device.
const IP: &str = "/ip";
/// The network namespace of the clients, as that command has it.
pub(crate) const CLIENTS: &str = "/run/netns/clients";

/// Pairs of devices, of which each is the other's wire, with the clients behind one of them.
pub(crate) fn set_up_network(args: &Args) -> io::Result<()> {
    let cpus = sys::cpus()?;
    let pairs = match (args.network, args.clients) {
        (Network::Lo, _) => return Ok(()),
        (Network::Veth, _) => 1,
        (Network::VethRps, Addresses::Many) if cpus <= u64::BITS => cpus,
        (Network::VethRps, Addresses::Many) => return Err(io::Error::other("too many CPUs")),
        (Network::VethRps, Addresses::One) => {
            return Err(io::Error::other("veth-rps needs --clients many"))
        }
    };
    mount(c"/sys", c"sysfs")?;
    fs::create_dir_all("/run/netns")?;
    let (mut here, mut there) = (vec!["netns add clients".to_owned()], Vec::new());
    for n in 0..pairs {
        let server = net::server_address(args.network, n);
        // No address of IPv6: nobody is to send anything of itself.
        let up = format!("link set veth{n} addrgenmode none up");
        here.push(format!(
            "link add veth{n} type veth peer name veth{n} netns clients"
        ));
        here.push(format!("addr add {server}/24 dev veth{n}"));
        here.push(up.clone());
        there.push(up);
    }
    let addresses = match args.clients {
        Addresses::One => 1,
        Addresses::Many => cpus,
    };
    for cpu in 0..addresses {
        let address = net::client_address(args.network, cpu);
        there.push(format!("addr add {address}/24 dev veth{}", cpu % pairs));
    }
    ip(&[], &here)?;
    ip(&["-n", "clients"], &there)?;
    if args.network == Network::VethRps {
        let all = u64::MAX >> (u64::BITS - cpus);
        for n in 0..pairs {
            receive_on(c"/sys", &format!("veth{n}"), all)?;
        }
        sys::fork_and_wait(|| {
            sys::enter_network(CLIENTS)?;
            // It shows the devices of who mounts it.
            mount(c"/clients-sys", c"sysfs")?;
            (0..pairs).try_for_each(|n| receive_on(c"/clients-sys", &format!("veth{n}"), 1 << n))
        })?;
    }
    Ok(())
}

/// What TCP is to do, in the network namespaces of servers and clients.
pub(crate) fn set_up_tcp(args: &Args) -> io::Result<()> {
    if !args.tcp_no_metrics_save {
        return Ok(());
    }
    write_no_metrics_save()?;
    if args.network == Network::Lo {
        return Ok(());
    }
    sys::fork_and_wait(|| {
        sys::enter_network(CLIENTS)?;
        write_no_metrics_save()
    })
}

fn write_no_metrics_save() -> io::Result<()> {
    const FILE: &str = "/proc/sys/net/ipv4/tcp_no_metrics_save";
    fs::write(FILE, "1").map_err(|error| named(FILE, error))
}

/// Whether AppArmor is on: a task has a label of its then.
pub(crate) fn has_apparmor() -> bool {
    fs::read("/proc/self/attr/apparmor/current").is_ok()
}

/// Has `ip` do what `lines` say.
fn ip(options: &[&str], lines: &[String]) -> io::Result<()> {
    const BATCH: &str = "/ip.batch";
    fs::write(BATCH, lines.join("\n") + "\n")?;
    let status = Command::new(IP)
        .args(options)
        .args(["-batch", BATCH])
        .status();
    match status.map_err(|error| named(IP, error))? {
        status if status.success() => Ok(()),
        _ => Err(io::Error::other("ip has failed")),
    }
}
