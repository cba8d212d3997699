// SPDX-License-Identifier: GPL-2.0

//! A network device as `/sys`, `/proc` and its driver show it, and what can be set there.

use super::cpus::Cpus;
use super::ethtool::{Ethtool, Limits, Ntuple, Table};
use super::{Coalesce, Result, Setting};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// `ARPHRD_LOOPBACK`, and a bit of the flags.
const LOOPBACK: &str = "772";
const UP: u32 = 1;

/// How far above a device's own directory its PCI function may be: virtio has one between.
const ABOVE: usize = 3;

/// A network device, under a root directory that is `/` but for tests.
pub(crate) struct Host {
    root: PathBuf,
    device: String,
    driver: Box<dyn Ethtool>,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    pub(crate) device: String,
    /// Has it IRQs of its own?
    pub(crate) hardware: bool,
    /// `rps_cpus` of each receive queue, and `xps_cpus` of each that sends. `None`: there is no such file,
    /// or it cannot be read, as for a device with one queue.
    pub(crate) rps: Vec<Option<String>>,
    pub(crate) xps: Vec<Option<String>>,
    pub(crate) irqs: Vec<Irq>,
    pub(crate) channels: Option<Limits>,
    pub(crate) coalesce: Option<Coalesce>,
    pub(crate) ntuple: Option<Ntuple>,
    pub(crate) table: Table,
    pub(crate) online: Vec<u32>,
    /// One more than the highest number of a CPU that there may ever be.
    pub(crate) possible: u32,
    /// The CPUs of the node that the device is at; none if that is not known.
    pub(crate) near: Vec<u32>,
    pub(crate) irqbalance: bool,
}

/// An IRQ of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Irq {
    pub(crate) number: u32,
    pub(crate) name: String,
    /// Where it may go.
    pub(crate) cpus: String,
    pub(crate) queue: Queue,
}

/// What an IRQ is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queue {
    Rx(usize),
    Tx(usize),
    /// A receive queue, and the one of the same number that sends.
    Both(usize),
    /// Something else, or not known.
    None,
}

impl Queue {
    /// What drivers name their IRQs: `virtio0-input.0`, `eth0-TxRx-0`, `mlx5_comp0@pci:0000:01:00.0`.
    fn of(name: &str) -> Self {
        let name = name.split('@').next().unwrap_or(name).to_ascii_lowercase();
        let kind = name.trim_end_matches(|c: char| c.is_ascii_digit());
        let Ok(number) = name[kind.len()..].parse() else {
            return Self::None;
        };
        let separators = ['-', '.', '_', ':'];
        let kind = kind.trim_end_matches(separators);
        let ends_in = |word: &str| {
            kind.strip_suffix(word)
                .is_some_and(|rest| rest.is_empty() || rest.ends_with(separators))
        };
        let both = ["txrx", "rxtx", "tx-rx", "rx-tx", "comp", "fp", "q"];
        if both.into_iter().any(ends_in) {
            Self::Both(number)
        } else if ends_in("rx") || ends_in("input") {
            Self::Rx(number)
        } else if ends_in("tx") || ends_in("output") {
            Self::Tx(number)
        } else {
            Self::None
        }
    }
}

/// The file of the CPUs that an IRQ may go to.
pub(crate) fn irq_file(number: u32) -> String {
    format!("/proc/irq/{number}/smp_affinity_list")
}

/// What is in a directory, in the order of names; nothing if there is none.
fn names(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

impl Host {
    pub(crate) fn new(root: &Path, device: &str, driver: Box<dyn Ethtool>) -> Result<Self> {
        let host = Self {
            root: root.to_owned(),
            device: device.to_owned(),
            driver,
        };
        let plain = !device.is_empty() && device != "." && device != ".." && !device.contains('/');
        if !plain || !host.path(&host.sys("")).is_dir() {
            return Err(format!("there is no network device {device}"));
        }
        match host.driver.index() {
            Ok(index) if host.index() == Some(index) => Ok(host),
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(host),
            _ => Err(format!(
                "the {device} of /sys is in another network namespace: ip netns exec has a /sys of its own"
            )),
        }
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    pub(crate) fn device(&self) -> &str {
        &self.device
    }

    /// The number of the device.
    pub(crate) fn index(&self) -> Option<u32> {
        self.read(&self.sys("ifindex"))?.parse().ok()
    }

    fn sys(&self, file: &str) -> String {
        format!("/sys/class/net/{}/{file}", self.device)
    }

    fn read(&self, path: &str) -> Option<String> {
        let text = fs::read_to_string(self.path(path)).ok()?;
        Some(text.trim().to_owned())
    }

    fn cpus(&self, path: &str) -> Vec<u32> {
        let cpus = self.read(path).and_then(|text| text.parse().ok());
        cpus.map_or_else(Vec::new, |Cpus(cpus)| cpus)
    }

    /// All that there is to know of the device, or why it is not one of those that this is for.
    pub(crate) fn look(&self) -> Result<Found> {
        self.refuse_others()?;
        let queues = |kind: &str, file: &str| {
            (0..)
                .map(|queue| self.sys(&format!("queues/{kind}-{queue}")))
                .take_while(|queue| self.path(queue).is_dir())
                .map(|queue| self.read(&format!("{queue}/{file}")))
                .collect::<Vec<_>>()
        };
        let ntuple = self.driver.ntuple().ok();
        let table = match ntuple {
            Some(Ntuple::On) => self.driver.table().unwrap_or_default(),
            _ => Table::default(),
        };
        let online = self.cpus("/sys/devices/system/cpu/online");
        let possible = self.cpus("/sys/devices/system/cpu/possible");
        let found = Found {
            device: self.device.clone(),
            hardware: self.path(&self.sys("device")).exists(),
            rps: queues("rx", "rps_cpus"),
            xps: queues("tx", "xps_cpus"),
            irqs: self.irqs(),
            channels: self.driver.channels().ok(),
            coalesce: self.driver.coalesce().ok(),
            ntuple,
            table,
            possible: possible.iter().max().map_or(1, |cpu| cpu + 1),
            near: self.near(),
            irqbalance: self.irqbalance(),
            online,
        };
        self.refuse_unknown(&found)?;
        Ok(found)
    }

    /// Devices whose packets come from others, or from nowhere.
    fn refuse_others(&self) -> Result<()> {
        let device = &self.device;
        let names = names(&self.path(&self.sys("")));
        let below: Vec<_> = names
            .iter()
            .filter_map(|name| name.strip_prefix("lower_"))
            .collect();
        let uevent = self.read(&self.sys("uevent")).unwrap_or_default();
        if self.read(&self.sys("type")).as_deref() == Some(LOOPBACK) {
            return Err(format!(
                "{device} is the loopback device, which has no queues to spread"
            ));
        }
        let has = |name: &str| names.iter().any(|there| there == name);
        let kind = uevent
            .lines()
            .find_map(|line| line.strip_prefix("DEVTYPE="));
        let kind = match kind {
            Some(kind) => kind,
            None if has("bridge") => "bridge",
            None if has("bonding") => "bond",
            None => "device on top of others",
        };
        match below.as_slice() {
            [] if kind != "bridge" && kind != "bond" => Ok(()),
            [] => Err(format!("{device} is a {kind} without a device below it")),
            below => Err(format!(
                "{device} is a {kind}: name what is below it: {}",
                below.join(" ")
            )),
        }
    }

    /// Hardware of which it is not known which IRQ is whose.
    fn refuse_unknown(&self, found: &Found) -> Result<()> {
        let device = &self.device;
        if found.online.is_empty() || found.rps.is_empty() {
            return Err(format!("{device} has no receive queues in /sys"));
        }
        if !found.hardware && found.rps.contains(&None) {
            return Err(format!(
                "{device} cannot be spread: the kernel is without RPS"
            ));
        }
        let has = |queue: usize| {
            let own = [Queue::Rx(queue), Queue::Both(queue)];
            found.irqs.iter().any(|irq| own.contains(&irq.queue))
        };
        if !found.hardware || found.rps.len() == 1 || (0..found.rps.len()).all(has) {
            return Ok(());
        }
        let flags = self.read(&self.sys("flags")).unwrap_or_default();
        let flags = u32::from_str_radix(flags.trim_start_matches("0x"), 16);
        if flags.is_ok_and(|flags| flags & UP == 0) {
            return Err(format!(
                "{device} is down, and has its IRQs when it is up: ip link set {device} up"
            ));
        }
        let driver = fs::read_link(self.path(&self.sys("device/driver"))).unwrap_or_default();
        let driver = driver.file_name().unwrap_or_default().to_string_lossy();
        Err(format!(
            "{device} (driver {driver}) is not known: the names of its IRQs do not say which queue they are of"
        ))
    }

    /// The device's directory in `/sys`, and those above.
    fn above(&self) -> Vec<PathBuf> {
        let own = fs::canonicalize(self.path(&self.sys("device")));
        let own = own.iter().flat_map(|own| own.ancestors());
        own.take(ABOVE).map(Path::to_owned).collect()
    }

    /// The IRQs of the device, in the order of numbers.
    fn irqs(&self) -> Vec<Irq> {
        let above = self.above();
        let mut numbers: Vec<u32> = above
            .iter()
            .map(|directory| names(&directory.join("msi_irqs")))
            .find(|names| !names.is_empty())
            .map_or_else(Vec::new, |names| {
                names.iter().filter_map(|name| name.parse().ok()).collect()
            });
        numbers.sort_unstable();
        let irqs = numbers.into_iter().filter_map(|number| {
            let directory = self.path(&format!("/proc/irq/{number}"));
            let mut names = names(&directory).into_iter();
            // It has a directory named as the driver named it, and nothing while it is not in use.
            let name = names.find(|name| directory.join(name).is_dir())?;
            Some(Irq {
                number,
                queue: Queue::of(&name),
                name,
                cpus: self.read(&irq_file(number))?,
            })
        });
        let mut irqs: Vec<_> = irqs.collect();
        // A card with one IRQ for all.
        if let [one] = irqs.as_mut_slice() {
            one.queue = Queue::Both(0);
        }
        irqs
    }

    fn near(&self) -> Vec<u32> {
        let node = self
            .above()
            .iter()
            .find_map(|directory| fs::read_to_string(directory.join("numa_node")).ok());
        match node.and_then(|node| node.trim().parse::<u32>().ok()) {
            Some(node) => self.cpus(&format!("/sys/devices/system/node/node{node}/cpulist")),
            None => Vec::new(),
        }
    }

    fn irqbalance(&self) -> bool {
        let processes = names(&self.path("/proc"));
        processes
            .iter()
            .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
            .any(|pid| self.read(&format!("/proc/{pid}/comm")).as_deref() == Some("irqbalance"))
    }

    /// The value that is there for what `setting` sets.
    pub(crate) fn now(&self, setting: &Setting) -> Result<Setting> {
        let failed = |error: io::Error| format!("cannot ask {}: {error}", self.device);
        Ok(match setting {
            Setting::Mask { path, .. } => Setting::Mask {
                path: path.clone(),
                cpus: self.read(path).ok_or(format!("cannot read {path}"))?,
            },
            Setting::Irq { name, .. } => {
                let irq = self.irqs().into_iter().find(|irq| irq.name == *name);
                let irq = irq.ok_or(format!("{} has no IRQ {name}", self.device))?;
                irq.setting()
            }
            Setting::Channels(_) => Setting::Channels(self.driver.channels().map_err(failed)?.now),
            Setting::Coalesce(_) => Setting::Coalesce(self.driver.coalesce().map_err(failed)?),
            Setting::Rule { location, .. } => {
                let rules = self.driver.table().map_err(failed)?.rules;
                let there = rules.into_iter().find(|(there, _)| there == location);
                Setting::Rule {
                    location: *location,
                    rule: there.and_then(|(_, rule)| rule),
                }
            }
        })
    }

    /// Sets it.
    pub(crate) fn set(&self, setting: &Setting) -> Result<()> {
        let write = |path: &str, value: &str| {
            let mut file = OpenOptions::new()
                .write(true)
                .truncate(true)
                .open(self.path(path))?;
            file.write_all(value.as_bytes())
        };
        let done = match setting {
            Setting::Mask { path, cpus } => write(path, cpus),
            Setting::Irq { number, cpus, .. } => write(&irq_file(*number), cpus),
            Setting::Channels(channels) => self.driver.set_channels(*channels),
            Setting::Coalesce(coalesce) => self.driver.set_coalesce(*coalesce),
            Setting::Rule { location, rule } => self.driver.set_rule(*location, rule.as_ref()),
        };
        done.map_err(|error| {
            let hint = match error.raw_os_error() {
                Some(libc::EPERM | libc::EACCES) => ": it is root's to do",
                _ => "",
            };
            format!("failed: {}: {error}{hint}", setting.command(&self.device))
        })
    }
}

impl Irq {
    /// What it is set to.
    pub(crate) fn setting(&self) -> Setting {
        Setting::Irq {
            number: self.number,
            name: self.name.clone(),
            cpus: self.cpus.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_irqs() {
        for (name, queue) in [
            ("virtio0-input.3", Queue::Rx(3)),
            ("virtio0-output.0", Queue::Tx(0)),
            ("eth0-TxRx-12", Queue::Both(12)),
            ("i40e-enp1s0f0-TxRx-1", Queue::Both(1)),
            ("eth0-Tx-Rx-2", Queue::Both(2)),
            ("eth0-rx-1", Queue::Rx(1)),
            ("eth0-tx-1", Queue::Tx(1)),
            ("eth0:tx-1", Queue::Tx(1)),
            ("eth0-fp-5", Queue::Both(5)),
            ("mana_q7@pci:0000:00:02.0", Queue::Both(7)),
            ("mlx5_comp0@pci:0000:01:00.0", Queue::Both(0)),
            ("mlx5_async0@pci:0000:01:00.0", Queue::None),
            ("virtio0-config", Queue::None),
            ("virtio1-req.0", Queue::None),
            ("gve-ntfy-blk3@pci:0000:00:04.0", Queue::None),
            ("eth0", Queue::None),
            ("eth0-3", Queue::None),
        ] {
            assert_eq!(Queue::of(name), queue, "{name}");
        }
    }
}
