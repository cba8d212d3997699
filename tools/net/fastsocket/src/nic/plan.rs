// SPDX-License-Identifier: GPL-2.0

//! From what was found to what is to be changed; nothing is read or written here.

use super::cpus::{mask, Cpus};
use super::ethtool::Ntuple;
use super::host::{Found, Irq, Queue};
use super::{Channels, Coalesce, Family, Result, Rule, Setting};

/// Ports from here on are those that the kernel chooses for connections. Below are servers, whose packets
/// have to be spread over all queues.
const CHOSEN: u16 = 0x8000;

/// What was asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    /// In this order; `None`: all that are online.
    pub(crate) cpus: Option<Cpus>,
    /// Microseconds.
    pub(crate) coalesce: Option<u32>,
    pub(crate) ntuple: bool,
}

/// What is to be done.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    pub(crate) cpus: Vec<u32>,
    pub(crate) queues: usize,
    /// In this order. If the first are channels, it is to be planned anew when they are set: what comes then
    /// is a guess.
    pub(crate) changes: Vec<Setting>,
    pub(crate) notes: Vec<String>,
}

/// Queue i has the CPUs i, i + queues, ...: with as many queues as CPUs, each has its own. The first one gets
/// its IRQ, and all of them send by it.
fn groups(cpus: &[u32], queues: usize) -> Vec<Vec<u32>> {
    let group = |queue: usize| match cpus.get(queue..) {
        Some([]) | None => vec![cpus[queue % cpus.len()]],
        Some(rest) => rest.iter().copied().step_by(queues).collect(),
    };
    (0..queues).map(group).collect()
}

/// What there is to be done for a device. The rules at the locations `ours` were made by an earlier run.
pub(crate) fn plan(found: &Found, wanted: &Wanted, ours: &[u32]) -> Result<Plan> {
    let mut plan = Plan {
        cpus: cpus(found, wanted)?,
        ..Plan::default()
    };
    let mut found = found.clone();
    if let Some(channels) = channels(&found, plan.cpus.len() as u32) {
        plan.changes.push(Setting::Channels(channels));
        expect(&mut found, channels);
    }
    plan.queues = found.rps.len();
    if wanted.cpus.is_none() && plan.queues < plan.cpus.len() {
        plan.cpus.sort_by_key(|cpu| !found.near.contains(cpu));
    }
    if let Some(rx_usecs) = wanted.coalesce {
        let there = found.coalesce;
        let there = there.ok_or(format!("{} has no time to set for its IRQs", found.device))?;
        let to = Coalesce {
            rx_usecs,
            adaptive_rx: false,
        };
        plan.set(&Setting::Coalesce(there), Setting::Coalesce(to));
    }
    let rx = groups(&plan.cpus, plan.queues);
    let tx = groups(&plan.cpus, found.xps.len());
    for (there, group) in found.rps().into_iter().zip(&rx) {
        let spread = plan.spread(&found, group);
        plan.set_cpus(there, mask(&spread));
    }
    if found.hardware {
        for (there, group) in found.xps().into_iter().zip(&tx) {
            plan.set_cpus(there, mask(group));
        }
    }
    let mut bound = Vec::new();
    for irq in &found.irqs {
        let group = match irq.queue {
            Queue::Rx(queue) | Queue::Both(queue) => rx.get(queue),
            Queue::Tx(queue) => tx.get(queue),
            Queue::None => None,
        };
        if let Some(group) = group {
            plan.set_cpus(Some(irq.setting()), group[0].to_string());
            bound.push(irq);
        }
    }
    if wanted.ntuple {
        for (there, to) in rules(&found, &rx, plan.cpus.len(), ours)? {
            plan.set(&there, to);
        }
    }
    plan.notes = notes(&found, &bound);
    Ok(plan)
}

/// Which CPUs are used.
fn cpus(found: &Found, wanted: &Wanted) -> Result<Vec<u32>> {
    let Some(Cpus(cpus)) = &wanted.cpus else {
        return Ok(found.online.clone());
    };
    match cpus.iter().find(|cpu| !found.online.contains(cpu)) {
        Some(cpu) => Err(format!("CPU {cpu} is not online")),
        None => Ok(cpus.clone()),
    }
}

impl Plan {
    /// Sets it if that is a change.
    fn set(&mut self, there: &Setting, to: Setting) {
        if !there.equals(&to) {
            self.changes.push(to);
        }
    }

    /// The same for CPUs; nothing if there is no such file.
    fn set_cpus(&mut self, there: Option<Setting>, cpus: String) {
        if let Some(there) = there {
            self.set(&there, there.with_cpus(cpus));
        }
    }

    /// Where RPS hands the packets of a queue that has the CPUs `group`: nowhere if that is where they come.
    fn spread(&self, found: &Found, group: &[u32]) -> Vec<u32> {
        let unbound = self.queues == 1 && found.irqs.iter().all(|irq| irq.queue == Queue::None);
        if found.online.len() == 1 {
            Vec::new()
        } else if !found.hardware || unbound {
            self.cpus.clone()
        } else if group.len() == 1 {
            Vec::new()
        } else {
            group.to_vec()
        }
    }
}

/// What the administrator has to know besides.
fn notes(found: &Found, bound: &[&Irq]) -> Vec<String> {
    let mut notes = Vec::new();
    if found.irqbalance && !bound.is_empty() {
        let banned = bound.iter().map(|irq| format!(" --banirq={}", irq.number));
        notes.push(format!(
            "irqbalance runs and will move these IRQs: stop it, or start it with{}",
            banned.collect::<String>()
        ));
    }
    let last = found.rps.len() - 1;
    let last = [Queue::Rx(last), Queue::Both(last)];
    let known = bound.iter().any(|irq| last.contains(&irq.queue));
    if found.hardware && found.rps.len() > 1 && !known {
        notes.push("the IRQs of queues that are not there yet are left out here".into());
    }
    notes
}

/// A queue for each CPU, or as many as there may be; `None` if there are. What is no hardware gains nothing by
/// them.
fn channels(found: &Found, cpus: u32) -> Option<Channels> {
    let limits = found.channels.filter(|_| found.hardware)?;
    let (mut to, most) = (limits.now, limits.most);
    if most.combined > 0 && (to.combined > 0 || to.rx == 0) {
        to.combined = cpus.min(most.combined);
    } else if most.rx > 0 && most.tx > 0 {
        to.rx = cpus.min(most.rx);
        to.tx = cpus.min(most.tx);
    }
    (to != limits.now).then_some(to)
}

/// What will be found with these channels.
fn expect(found: &mut Found, channels: Channels) {
    let new = || Some("0".into());
    let (rx, tx) = (
        channels.combined + channels.rx,
        channels.combined + channels.tx,
    );
    found.rps.resize_with(rx as usize, new);
    found.xps.resize_with(tx as usize, new);
}

/// For each CPU with a queue of its own: what comes for ports that name it goes to that queue. With each
/// rule what is there.
fn rules(
    found: &Found,
    groups: &[Vec<u32>],
    cpus: usize,
    ours: &[u32],
) -> Result<Vec<(Setting, Setting)>> {
    let device = &found.device;
    match found.ntuple {
        Some(Ntuple::On) => (),
        Some(Ntuple::Off) => {
            return Err(format!(
                "{device} can steer by rules, but that is off: ethtool -K {device} ntuple on"
            ));
        }
        _ => return Err(format!("{device} cannot steer by rules (ntuple)")),
    }
    // As the kernel's side has it: net/fastsocket/steer/rfd.rs.
    let told_apart = found.possible.next_power_of_two() as u16;
    let mut wanted: Vec<Rule> = Vec::new();
    for (queue, group) in groups.iter().enumerate().take(cpus) {
        for family in [Family::Ipv4, Family::Ipv6] {
            wanted.push(Rule {
                family,
                port: CHOSEN | (group[0] as u16) << 1,
                mask: CHOSEN | (told_apart - 1) << 1,
                queue: queue as u32,
            });
        }
    }
    let mut changes = Vec::new();
    let mut change = |location: u32, there: Option<Rule>, rule: Option<Rule>| {
        let there = Setting::Rule {
            location,
            rule: there,
        };
        changes.push((there, Setting::Rule { location, rule }));
    };
    let mut taken = Vec::new();
    for (location, there) in &found.table.rules {
        match there {
            Some(rule) if wanted.contains(rule) => wanted.retain(|wanted| wanted != rule),
            Some(rule) if ours.contains(location) => change(*location, Some(rule.clone()), None),
            _ => (),
        }
        taken.push(*location);
    }
    let mut free = (0..found.table.size).rev().filter(|at| !taken.contains(at));
    for rule in wanted {
        let Some(location) = free.next() else {
            return Err(format!(
                "{device} has no place for a rule for each of {cpus} CPUs"
            ));
        };
        change(location, None, Some(rule));
    }
    Ok(changes)
}

impl Setting {
    /// The same for other CPUs.
    fn with_cpus(&self, to: String) -> Self {
        let mut setting = self.clone();
        if let Self::Mask { cpus, .. } | Self::Irq { cpus, .. } = &mut setting {
            *cpus = to;
        }
        setting
    }
}

impl Found {
    fn masks(&self, file: &str, values: &[Option<String>]) -> Vec<Option<Setting>> {
        let mask = |(queue, cpus): (usize, &Option<String>)| {
            let path = format!("/sys/class/net/{}/queues/{file}", self.device);
            Some(Setting::Mask {
                path: path.replace("{}", &queue.to_string()),
                cpus: cpus.clone()?,
            })
        };
        values.iter().enumerate().map(mask).collect()
    }

    fn rps(&self) -> Vec<Option<Setting>> {
        self.masks("rx-{}/rps_cpus", &self.rps)
    }

    fn xps(&self) -> Vec<Option<Setting>> {
        self.masks("tx-{}/xps_cpus", &self.xps)
    }

    /// All that a change of the number of queues may change as well.
    pub(crate) fn settings(&self) -> Vec<Setting> {
        let masks = self.rps().into_iter().chain(self.xps()).flatten();
        let irqs = self.irqs.iter().filter(|irq| irq.queue != Queue::None);
        masks.chain(irqs.map(Irq::setting)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::ethtool::{Limits, Table};
    use super::*;

    /// A card with so many queues of at most so many, on a machine with so many CPUs.
    fn card(queues: usize, most: u32, cpus: u32) -> Found {
        let irq = |queue: usize| Irq {
            number: 40 + queue as u32,
            name: format!("eth0-TxRx-{queue}"),
            cpus: format!("0-{}", cpus - 1),
            queue: Queue::Both(queue),
        };
        let combined = |combined| Channels {
            combined,
            ..Channels::default()
        };
        Found {
            device: "eth0".into(),
            hardware: true,
            rps: vec![Some("00".into()); queues],
            xps: vec![Some("00".into()); queues],
            irqs: (0..queues).map(irq).collect(),
            channels: Some(Limits {
                now: combined(queues as u32),
                most: combined(most),
            }),
            coalesce: Some(Coalesce {
                rx_usecs: 3,
                adaptive_rx: true,
            }),
            ntuple: Some(Ntuple::On),
            table: Table {
                size: 8,
                rules: Vec::new(),
            },
            online: (0..cpus).collect(),
            possible: cpus,
            ..Found::default()
        }
    }

    fn commands(found: &Found, wanted: &Wanted) -> Vec<String> {
        let plan = plan(found, wanted, &[]).unwrap();
        plan.changes.iter().map(|to| to.command("eth0")).collect()
    }

    fn on(cpus: &str) -> Wanted {
        Wanted {
            cpus: Some(cpus.parse().unwrap()),
            ..Wanted::default()
        }
    }

    const Q: &str = "/sys/class/net/eth0/queues";

    #[test]
    fn a_queue_for_each_cpu() {
        let expected = [
            format!("echo 1 > {Q}/tx-0/xps_cpus"),
            format!("echo 2 > {Q}/tx-1/xps_cpus"),
            "echo 0 > /proc/irq/40/smp_affinity_list".into(),
            "echo 1 > /proc/irq/41/smp_affinity_list".into(),
        ];
        let mut found = card(2, 2, 2);
        assert_eq!(commands(&found, &Wanted::default()), expected);
        // What is so already is not set again.
        found.rps[1] = Some("3".into());
        found.xps[0] = Some("00000000,00000001".into());
        found.irqs[1].cpus = "1".into();
        let expected = [
            format!("echo 0 > {Q}/rx-1/rps_cpus"),
            expected[1].clone(),
            expected[2].clone(),
        ];
        assert_eq!(commands(&found, &Wanted::default()), expected);
    }

    #[test]
    fn fewer_queues_than_cpus_are_spread() {
        let expected = [
            format!("echo 5 > {Q}/rx-0/rps_cpus"),
            format!("echo a > {Q}/rx-1/rps_cpus"),
            format!("echo 5 > {Q}/tx-0/xps_cpus"),
            format!("echo a > {Q}/tx-1/xps_cpus"),
            "echo 0 > /proc/irq/40/smp_affinity_list".into(),
            "echo 1 > /proc/irq/41/smp_affinity_list".into(),
        ];
        let mut found = card(2, 2, 4);
        assert_eq!(commands(&found, &Wanted::default()), expected);
        // The IRQs go to CPUs of the card's node.
        found.near = vec![2, 3];
        let expected = [
            "echo 2 > /proc/irq/40/smp_affinity_list",
            "echo 3 > /proc/irq/41/smp_affinity_list",
        ];
        assert_eq!(commands(&found, &Wanted::default())[4..], expected);
        // Or where they are told to.
        let expected = [
            "echo 1 > /proc/irq/40/smp_affinity_list",
            "echo 0 > /proc/irq/41/smp_affinity_list",
        ];
        assert_eq!(commands(&found, &on("1,0"))[2..], expected);
    }

    #[test]
    fn more_queues_than_cpus_share_them() {
        assert_eq!(groups(&[4, 6], 3), [[4], [6], [4]]);
        assert_eq!(groups(&[4, 6, 7], 2), [vec![4, 7], vec![6]]);
        assert_eq!(groups(&[5], 1), [[5]]);
    }

    #[test]
    fn channels_come_first() {
        let first = |found: &Found, wanted: &Wanted| commands(found, wanted)[0].clone();
        let found = card(2, 8, 4);
        assert_eq!(
            first(&found, &Wanted::default()),
            "ethtool -L eth0 combined 4"
        );
        assert_eq!(
            first(&card(4, 8, 4), &on("3")),
            "ethtool -L eth0 combined 1"
        );
        assert_eq!(
            first(&card(1, 3, 4), &Wanted::default()),
            "ethtool -L eth0 combined 3"
        );
        // What is known of the queues to come is told as well.
        let plan = plan(&found, &Wanted::default(), &[]).unwrap();
        let last = Setting::Mask {
            path: format!("{Q}/tx-3/xps_cpus"),
            cpus: "8".into(),
        };
        assert!(plan.changes.contains(&last), "{plan:?}");
        assert_eq!((plan.queues, plan.notes.len()), (4, 1));

        let mut apart = card(2, 0, 4);
        let limits = |rx, tx| Channels {
            combined: 0,
            rx,
            tx,
        };
        apart.channels = Some(Limits {
            now: limits(2, 2),
            most: limits(8, 3),
        });
        assert_eq!(
            first(&apart, &Wanted::default()),
            "ethtool -L eth0 rx 4 tx 3"
        );
    }

    #[test]
    fn a_device_without_irqs_is_spread_over_all() {
        let veth = |cpus| Found {
            hardware: false,
            irqs: Vec::new(),
            ..card(2, 4, cpus)
        };
        let expected = [
            format!("echo f > {Q}/rx-0/rps_cpus"),
            format!("echo f > {Q}/rx-1/rps_cpus"),
        ];
        assert_eq!(commands(&veth(4), &Wanted::default()), expected);
        assert!(commands(&veth(1), &Wanted::default()).is_empty());
        // So is a card with one queue whose IRQ is not known.
        let mut single = card(1, 1, 4);
        single.irqs.clear();
        assert_eq!(commands(&single, &Wanted::default())[0], expected[0]);
    }

    #[test]
    fn coalescing_is_left_alone_unless_asked_for() {
        let wanted = Wanted {
            coalesce: Some(50),
            ..Wanted::default()
        };
        let mut found = card(1, 1, 1);
        let all = commands(&found, &wanted);
        assert_eq!(all[0], "ethtool -C eth0 adaptive-rx off rx-usecs 50");
        let without = commands(&found, &Wanted::default());
        assert_eq!(all[1..], without);
        found.coalesce = None;
        assert!(plan(&found, &wanted, &[]).is_err());
    }

    fn steered(found: &Found, ours: &[u32]) -> Result<Vec<String>> {
        let wanted = Wanted {
            ntuple: true,
            ..Wanted::default()
        };
        let changes = plan(found, &wanted, ours)?.changes;
        let commands = changes.iter().map(|to| to.command("eth0"));
        Ok(commands
            .filter(|command| command.contains(" -N "))
            .collect())
    }

    #[test]
    fn rules_are_by_the_bits_that_name_a_cpu() {
        let mut found = card(2, 2, 2);
        // Three bits, and the one of the ports that connections have.
        found.possible = 6;
        found.table.rules = vec![(7, None)];
        let line = |family, cpu: u32, location| {
            let port = 0x8000 + 2 * cpu;
            format!(
                "ethtool -N eth0 flow-type {family} dst-port {port:#x} m 0x7ff1 action {cpu} loc {location}"
            )
        };
        let expected = [
            line("tcp4", 0, 6),
            line("tcp6", 0, 5),
            line("tcp4", 1, 4),
            line("tcp6", 1, 3),
        ];
        assert_eq!(steered(&found, &[]).unwrap(), expected);

        // Again: those that are there stay, and one of an earlier run that is not wanted goes.
        let rule = |port, queue| Rule {
            family: Family::Ipv4,
            port,
            mask: 0x800e,
            queue,
        };
        found.table.rules = vec![(6, Some(rule(0x8000, 0))), (5, Some(rule(0x8004, 1)))];
        let again = steered(&found, &[6, 5]).unwrap();
        let expected = [
            "ethtool -N eth0 delete 5".into(),
            line("tcp6", 0, 7),
            line("tcp4", 1, 4),
            line("tcp6", 1, 3),
        ];
        assert_eq!(again, expected);
        // Others' stay.
        assert!(!steered(&found, &[6]).unwrap()[0].contains("delete"));
    }

    #[test]
    fn rules_that_cannot_be_are_refused() {
        let mut found = card(2, 2, 2);
        found.table.size = 3;
        assert!(steered(&found, &[]).unwrap_err().contains("no place"));
        found.ntuple = Some(Ntuple::Off);
        assert!(steered(&found, &[]).unwrap_err().ends_with("ntuple on"));
        found.ntuple = None;
        assert!(steered(&found, &[]).unwrap_err().contains("cannot steer"));
    }

    #[test]
    fn cpus_that_are_not_there() {
        let error = plan(&card(2, 2, 2), &on("0,2"), &[]).unwrap_err();
        assert_eq!(error, "CPU 2 is not online");
    }

    #[test]
    fn irqbalance_is_told_of() {
        let mut found = card(2, 2, 2);
        found.irqbalance = true;
        let notes = plan(&found, &Wanted::default(), &[]).unwrap().notes;
        assert!(notes[0].ends_with("--banirq=40 --banirq=41"), "{notes:?}");
    }
}
