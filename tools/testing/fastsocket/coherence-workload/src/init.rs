// SPDX-License-Identifier: GPL-2.0

//! What a guest needs before anything runs in it.

use crate::{
    net,
    sys::{self, check},
    Addresses, Args, Network,
};
use std::{
    ffi::CStr,
    fs::{self, File},
    io, iter, mem,
    net::UdpSocket,
    os::fd::AsRawFd,
    process::Command,
    ptr,
};

/// Where the module is.
const MODULE: &str = "/fastsocket.ko";

/// iproute2's command, if the guest is to have more than the loopback device.
const IP: &str = "/ip";
/// The network namespace of the clients, as that command has it.
pub(crate) const CLIENTS: &str = "/run/netns/clients";

/// Mounts, and brings up the loopback interface; the words of the command line.
pub(crate) fn set_up() -> io::Result<Vec<String>> {
    mount(c"/dev", c"devtmpfs")?;
    mount(c"/proc", c"proc")?;
    loopback_up()?;
    // What init is started with has the parameters that the kernel does not know, too.
    let line = fs::read_to_string("/proc/cmdline")?;
    let own = line.split_once(" -- ").map_or("", |(_, own)| own);
    let words = own.split_ascii_whitespace().map(str::to_owned);
    Ok(iter::once("init".to_owned()).chain(words).collect())
}

/// Loads the module.
pub(crate) fn load_module() -> io::Result<()> {
    let module = File::open(MODULE).map_err(|error| named(MODULE, error))?;
    // SAFETY: the arguments are a text.
    let result =
        unsafe { libc::syscall(libc::SYS_finit_module, module.as_raw_fd(), c"".as_ptr(), 0) };
    check(result as i32)?;
    Ok(())
}

fn named(what: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

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
        receive_on(c"/sys", pairs, |_| all)?;
        sys::fork_and_wait(|| {
            sys::enter_network(CLIENTS)?;
            // It shows the devices of who mounts it.
            mount(c"/clients-sys", c"sysfs")?;
            receive_on(c"/clients-sys", pairs, |n| 1 << n)
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

/// Has RPS put the flows that come in at each device on these CPUs, by their hash.
fn receive_on(sys: &CStr, devices: u32, cpus: impl Fn(u32) -> u64) -> io::Result<()> {
    let sys = sys.to_str().expect("ASCII");
    for n in 0..devices {
        for queue in fs::read_dir(format!("{sys}/class/net/veth{n}/queues"))? {
            let queue = queue?;
            if queue.file_name().as_encoded_bytes().starts_with(b"rx-") {
                fs::write(queue.path().join("rps_cpus"), mask(cpus(n)))?;
            }
        }
    }
    Ok(())
}

/// CPUs as sysfs has them: 32 a word, the last word first.
fn mask(cpus: u64) -> String {
    match cpus >> 32 {
        0 => format!("{cpus:x}"),
        high => format!("{high:x},{:08x}", cpus as u32),
    }
}

fn mount(at: &CStr, kind: &CStr) -> io::Result<()> {
    fs::create_dir_all(at.to_str().expect("ASCII"))?;
    // SAFETY: texts, and no data.
    let result = unsafe { libc::mount(kind.as_ptr(), at.as_ptr(), kind.as_ptr(), 0, ptr::null()) };
    match check(result) {
        Err(error) if error.raw_os_error() != Some(libc::EBUSY) => Err(error),
        _ => Ok(()),
    }
}

fn loopback_up() -> io::Result<()> {
    // SAFETY: integers and pointers, for which zero is valid.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = *from as _;
    }
    request.ifr_ifru.ifru_flags = libc::IFF_UP as _;
    // An address that does not exist yet cannot be bound to.
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    // SAFETY: the request is valid for the call.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw mut request) })?;
    Ok(())
}

/// Turns the machine off, or at least stops it.
pub(crate) fn power_off() {
    // SAFETY: ends everything.
    unsafe {
        libc::sync();
        libc::reboot(libc::RB_POWER_OFF);
    }
}

#[cfg(test)]
mod tests {
    use super::mask;

    #[test]
    fn masks_of_cpus() {
        let expected = [
            (0xf, "f"),
            (1 << 23, "800000"),
            (0x1_0000_0002, "1,00000002"),
        ];
        for (cpus, text) in expected {
            assert_eq!(mask(cpus), text);
        }
    }
}
