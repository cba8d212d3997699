// SPDX-License-Identifier: GPL-2.0

//! `fastsocket nic`.

use crate::args::NicArgs;
use crate::complain;
use crate::nic::ethtool::{Driver, Ethtool, Nothing};
use crate::nic::host::{Found, Host};
use crate::nic::plan::{plan, Plan, Wanted};
use crate::nic::state::{Lock, State};
use crate::nic::{Result, Setting};
use serde::Serialize;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

/// What was done, or would be.
#[derive(Debug, Serialize)]
struct Report<'a> {
    device: &'a str,
    outcome: Outcome,
    /// Those that the queues are for, in the order of queues; none for what is undone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cpus: Vec<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    queues: Option<usize>,
    changes: Vec<Change>,
    notes: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Planned,
    Done,
    Undone,
}

/// A setting that was changed, and the command that does it.
#[derive(Debug, Serialize)]
struct Change {
    command: String,
    #[serde(flatten)]
    setting: Setting,
}

/// Has the device spread its packets, or restores what was there before.
pub(crate) fn nic(args: &NicArgs) -> ExitCode {
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(error);
            ExitCode::FAILURE
        }
    }
}

fn run(args: &NicArgs) -> Result<()> {
    let root = args.root.as_deref().unwrap_or(Path::new("/"));
    let driver: Box<dyn Ethtool> = match args.root {
        Some(_) => Box::new(Nothing),
        None => Box::new(Driver::new(&args.device).map_err(|error| error.to_string())?),
    };
    let host = Host::new(root, &args.device, driver)?;
    let wanted = Wanted {
        cpus: args.cpus.clone(),
        coalesce: args.coalesce,
        ntuple: args.ntuple,
    };
    // Each writes down what was there before the first.
    let _lock = match args.dry_run {
        true => None,
        false => Some(Lock::new(&host)?),
    };
    let report = match args.undo {
        true => undo(&host, args.dry_run),
        false => configure(&host, &wanted, args.dry_run),
    }?;
    for note in report.notes.iter().filter(|_| !args.json) {
        complain(note);
    }
    match report.write(args.json, io::stdout().lock()) {
        // Who reads no more wants no more.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.to_string()),
        _ => Ok(()),
    }
}

fn configure<'a>(host: &'a Host, wanted: &Wanted, dry_run: bool) -> Result<Report<'a>> {
    let found = host.look()?;
    let earlier = State::load(host)?;
    let ours = earlier.as_ref().map_or_else(Vec::new, State::rules);
    let mut plan = plan(&found, wanted, &ours)?;
    if !dry_run && !plan.changes.is_empty() {
        let before = before(host, &found, &plan.changes)?;
        let mut state = earlier.clone().unwrap_or_else(|| State::new(host));
        state.add(&before);
        state.save(host)?;
        plan = apply(host, wanted, &ours, plan)
            .map_err(|error| roll_back(host, &before, earlier.as_ref(), &error))?;
    }
    Ok(Report {
        device: host.device(),
        outcome: if dry_run {
            Outcome::Planned
        } else {
            Outcome::Done
        },
        changes: Change::all(host, plan.changes),
        cpus: plan.cpus,
        queues: Some(plan.queues),
        notes: plan.notes,
    })
}

/// The values of all that the changes may have an effect on.
fn before(host: &Host, found: &Found, changes: &[Setting]) -> Result<Vec<Setting>> {
    let mut before = found.settings();
    for change in changes {
        // Those of queues are known, and queues that are not there yet have none.
        if !matches!(change, Setting::Mask { .. } | Setting::Irq { .. }) {
            before.push(host.now(change)?);
        }
    }
    Ok(before)
}

/// Makes the changes; the plan as it was then.
fn apply(host: &Host, wanted: &Wanted, ours: &[u32], mut plan: Plan) -> Result<Plan> {
    let channels = plan.changes.first().cloned();
    let channels = channels.filter(|first| matches!(first, Setting::Channels(_)));
    if let Some(channels) = &channels {
        host.set(channels)?;
        plan = crate::nic::plan::plan(&host.look()?, wanted, ours)?;
        if let Some(Setting::Channels(_)) = plan.changes.first() {
            let command = channels.command(host.device());
            return Err(format!("failed, and nobody says why: {command}"));
        }
    }
    for change in &plan.changes {
        host.set(change)?;
    }
    plan.changes.splice(0..0, channels);
    Ok(plan)
}

/// Undoes what was done before `error`; what there is to say then.
fn roll_back(host: &Host, before: &[Setting], earlier: Option<&State>, error: &str) -> String {
    let (_, failed) = restore(host, before, false);
    if let [first, ..] = failed.as_slice() {
        let device = host.device();
        return format!(
            "{error}; what was done before could not all be undone ({first}): fastsocket nic {device} --undo tries again"
        );
    }
    let kept = match earlier {
        Some(state) => state.save(host),
        None => State::remove(host),
    };
    match kept {
        Ok(()) => format!("{error}; what was done before is undone"),
        Err(other) => format!("{error}; what was done before is undone, but {other}"),
    }
}

/// Sets what is not as it was: what was set, or would be, and what went wrong.
fn restore(host: &Host, before: &[Setting], dry_run: bool) -> (Vec<Setting>, Vec<String>) {
    let (mut done, mut failed) = (Vec::new(), Vec::new());
    let mut before = before.to_vec();
    // Rules are about queues, and these have the rest.
    before.sort_by_key(|setting| match setting {
        Setting::Rule { .. } => 0,
        Setting::Channels(_) => 1,
        _ => 2,
    });
    for mut setting in before {
        match host.now(&setting) {
            Ok(now) if now.equals(&setting) => continue,
            Ok(now) => setting.is_now_at(&now),
            Err(error) if !dry_run => {
                failed.push(error);
                continue;
            }
            // Its queue will be there.
            Err(_) => (),
        }
        if !dry_run {
            if let Err(error) = host.set(&setting) {
                failed.push(error);
                continue;
            }
        }
        done.push(setting);
    }
    (done, failed)
}

fn undo(host: &Host, dry_run: bool) -> Result<Report<'_>> {
    let device = host.device();
    let nothing = || format!("there is nothing to undo for {device}");
    let state = State::load(host)?.ok_or_else(nothing)?;
    let (done, failed) = restore(host, &state.settings, dry_run);
    if !failed.is_empty() {
        return Err(failed.join("; "));
    }
    if !dry_run {
        State::remove(host)?;
    }
    Ok(Report {
        device,
        outcome: if dry_run {
            Outcome::Planned
        } else {
            Outcome::Undone
        },
        cpus: Vec::new(),
        queues: None,
        changes: Change::all(host, done),
        notes: Vec::new(),
    })
}

impl Change {
    fn all(host: &Host, settings: Vec<Setting>) -> Vec<Self> {
        let change = |setting: Setting| Self {
            command: setting.command(host.device()),
            setting,
        };
        settings.into_iter().map(change).collect()
    }
}

impl Report<'_> {
    fn write(&self, json: bool, mut to: impl Write) -> io::Result<()> {
        let (device, count) = (self.device, self.changes.len());
        if json {
            serde_json::to_writer_pretty(&mut to, self)?;
            writeln!(to)?;
        } else {
            match self.outcome {
                Outcome::Planned => {
                    for change in &self.changes {
                        writeln!(to, "{}", change.command)?;
                    }
                }
                Outcome::Done if count == 0 => writeln!(to, "{device}: all is as it should be")?,
                Outcome::Done => writeln!(
                    to,
                    "{device}: {count} settings changed; --undo takes them back"
                )?,
                Outcome::Undone => writeln!(to, "{device}: {count} settings restored")?,
            }
        }
        to.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nic::ethtool::{Limits, Ntuple, Table};
    use crate::nic::{Channels, Coalesce, Rule};
    use crate::tree::Tree;
    use std::cell::{Cell, RefCell};
    use std::rc::Rc;

    /// The driver of a card with up to four queues and eight rules. As real ones do, it makes and
    /// removes what `/sys` has of a queue, and forgets where IRQs were bound.
    struct Fake {
        tree: Rc<Tree>,
        queues: Cell<u32>,
        coalesce: Cell<Coalesce>,
        rules: RefCell<Vec<(u32, Option<Rule>)>>,
        /// Below this location no rule can be set.
        refused: u32,
    }

    const QUEUES: &str = "sys/class/net/eth0/queues";

    fn combined(combined: u32) -> Channels {
        Channels {
            combined,
            ..Channels::default()
        }
    }

    impl Ethtool for Rc<Fake> {
        fn channels(&self) -> io::Result<Limits> {
            Ok(Limits {
                now: combined(self.queues.get()),
                most: combined(4),
            })
        }

        fn set_channels(&self, channels: Channels) -> io::Result<()> {
            for queue in channels.combined..self.queues.get() {
                self.tree.remove(&format!("{QUEUES}/rx-{queue}"));
                self.tree.remove(&format!("{QUEUES}/tx-{queue}"));
            }
            for queue in self.queues.get()..channels.combined {
                for file in ["rx-{}/rps_cpus", "tx-{}/xps_cpus"] {
                    let file = file.replace("{}", &queue.to_string());
                    self.tree.write(&format!("{QUEUES}/{file}"), "0");
                }
            }
            for irq in 41..49 {
                let file = format!("proc/irq/{irq}/smp_affinity_list");
                self.tree.write(&file, "0-3");
            }
            self.queues.set(channels.combined);
            Ok(())
        }

        fn coalesce(&self) -> io::Result<Coalesce> {
            Ok(self.coalesce.get())
        }

        fn set_coalesce(&self, coalesce: Coalesce) -> io::Result<()> {
            self.coalesce.set(coalesce);
            Ok(())
        }

        fn ntuple(&self) -> io::Result<Ntuple> {
            Ok(Ntuple::On)
        }

        fn table(&self) -> io::Result<Table> {
            Ok(Table {
                size: 8,
                rules: self.rules.borrow().clone(),
            })
        }

        fn set_rule(&self, location: u32, rule: Option<&Rule>) -> io::Result<()> {
            if rule.is_some() && location < self.refused {
                return Err(io::Error::from_raw_os_error(libc::EINVAL));
            }
            let mut rules = self.rules.borrow_mut();
            rules.retain(|(there, _)| *there != location);
            rules.extend(rule.map(|rule| (location, Some(rule.clone()))));
            Ok(())
        }
    }

    /// A card with two queues that are not as they come, on a machine with four CPUs.
    fn card(name: &str) -> (Rc<Fake>, Host) {
        let tree = Tree::new(&std::env::temp_dir(), &format!("fastsocket-{name}"), 4);
        tree.virtio("eth0", 4);
        let fake = Rc::new(Fake {
            tree: Rc::new(tree),
            queues: Cell::new(4),
            coalesce: Cell::new(Coalesce {
                rx_usecs: 3,
                adaptive_rx: true,
            }),
            rules: RefCell::default(),
            refused: 0,
        });
        fake.set_channels(combined(2)).unwrap();
        fake.tree.write(&format!("{QUEUES}/rx-1/rps_cpus"), "c");
        fake.tree.write("proc/irq/43/smp_affinity_list", "2");
        let host = Host::new(fake.tree.root(), "eth0", Box::new(fake.clone())).unwrap();
        (fake, host)
    }

    #[test]
    fn the_queues_that_channels_give_are_set() {
        let (fake, host) = card("channels");
        let before = fake.tree.all();
        let wanted = Wanted::default();
        let commands = |report: &Report| -> Vec<String> {
            let changes = report.changes.iter();
            changes.map(|change| change.command.clone()).collect()
        };
        let planned = commands(&configure(&host, &wanted, true).unwrap());
        assert_eq!(planned[0], "ethtool -L eth0 combined 4");
        assert_eq!(fake.tree.all(), before);

        let report = configure(&host, &wanted, false).unwrap();
        let done = commands(&report);
        assert_eq!(
            (done.len(), &done[0], report.queues),
            (14, &planned[0], Some(4))
        );
        assert_eq!(fake.queues.get(), 4);
        assert_eq!(fake.tree.read(&format!("{QUEUES}/tx-3/xps_cpus")), "8");
        assert_eq!(fake.tree.read("proc/irq/47/smp_affinity_list"), "3");
        assert!(configure(&host, &wanted, false).unwrap().changes.is_empty());

        undo(&host, true).unwrap();
        assert_eq!(fake.queues.get(), 4);
        undo(&host, false).unwrap();
        assert_eq!(fake.tree.all(), before);
        assert_eq!(fake.queues.get(), 2);
    }

    #[test]
    fn queues_that_went_have_their_values_again() {
        let (fake, host) = card("fewer");
        let before = fake.tree.all();
        let wanted = Wanted {
            cpus: Some("3".parse().unwrap()),
            ..Wanted::default()
        };
        configure(&host, &wanted, false).unwrap();
        assert_eq!(fake.queues.get(), 1);
        let planned = undo(&host, true).unwrap();
        let again = format!("echo c > /{QUEUES}/rx-1/rps_cpus");
        let mut commands = planned.changes.iter().map(|change| &change.command);
        assert!(commands.any(|command| *command == again));
        undo(&host, false).unwrap();
        assert_eq!(fake.tree.all(), before);
    }

    #[test]
    fn a_second_run_keeps_more_of_what_was_there() {
        let (fake, host) = card("more");
        let before = (fake.tree.all(), fake.coalesce.get());
        configure(&host, &Wanted::default(), false).unwrap();
        assert_eq!(fake.coalesce.get(), before.1);
        let mut wanted = Wanted {
            coalesce: Some(50),
            ntuple: true,
            ..Wanted::default()
        };
        configure(&host, &wanted, false).unwrap();
        assert_eq!(
            (fake.coalesce.get().rx_usecs, fake.rules.borrow().len()),
            (50, 8)
        );
        // Fewer CPUs have fewer rules, and these are still known.
        wanted.cpus = Some("0,1".parse().unwrap());
        configure(&host, &wanted, false).unwrap();
        assert_eq!(fake.rules.borrow().len(), 4);
        undo(&host, false).unwrap();
        assert_eq!((fake.tree.all(), fake.coalesce.get()), before);
        assert!(fake.rules.borrow().is_empty());
    }

    #[test]
    fn a_failure_half_way_is_undone() {
        let wanted = Wanted {
            ntuple: true,
            coalesce: Some(9),
            ..Wanted::default()
        };
        let (mut fake, host) = card("rules");
        drop(host);
        Rc::get_mut(&mut fake).expect("nobody else has it").refused = 3;
        let host = Host::new(fake.tree.root(), "eth0", Box::new(fake.clone())).unwrap();
        let before = (fake.tree.all(), fake.coalesce.get());
        let error = configure(&host, &wanted, false).unwrap_err();
        assert!(
            error.contains("loc 2: Invalid") && error.ends_with("is undone"),
            "{error}"
        );
        assert_eq!((fake.tree.all(), fake.coalesce.get()), before);
        assert!(fake.rules.borrow().is_empty());

        // What cannot be undone is said, and is kept for another time.
        let path = format!("{QUEUES}/rx-0/rps_cpus");
        fake.tree.write(&path, "8");
        fake.tree.lock(&path);
        let error = configure(&host, &wanted, false).unwrap_err();
        assert!(error.contains(&path), "{error}");
    }
}
