// SPDX-License-Identifier: GPL-2.0

//! Runs side by side: what was counted in each, and what a model makes of that.
//!
//! # The model
//!
//! Counts are no times. The model has two parameters, and says what a connection
//! would take if each instruction took a fixed number of cycles, and each
//! transfer a fixed number on top of that. The same connections on more processors
//! would then be served as many times faster as there are more processors, and as
//! many times slower as each takes more cycles. It is for telling which differences
//! between counts matter, and for nothing else: see [`LEFT_OUT`].

use crate::{
    difference::{self, differences, Counts},
    resolve::{ratio, rounded, Region, Report},
    text::{self, names, numbers, Column, List},
};
use serde::{Deserialize, Serialize};
use std::{
    fmt::{self, Display, Formatter},
    io::{self, Write},
};

/// What was run, but for how connections come to workers and on how many processors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// As in [`crate::resolve::Workload`], and so are the next two.
    pub network: String,
    /// The addresses of the clients.
    pub clients: String,
    /// Whether there was a backend.
    pub proxy: bool,
    /// As in [`crate::resolve::Workload`].
    pub tcp_no_metrics_save: bool,
    /// The same.
    pub apparmor: bool,
    /// As in [`Report`]. Counts with another are not comparable.
    pub slice: u64,
}

impl Display for Setting {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (network, clients) = (&self.network, &self.clients);
        match &**clients {
            "one" => write!(f, "{network}, one client address")?,
            "many" => write!(f, "{network}, many client addresses")?,
            _ => write!(f, "{network}, client addresses: {clients}")?,
        }
        for (is, what) in [
            (self.proxy, "proxy"),
            (self.tcp_no_metrics_save, "tcp_no_metrics_save=1"),
            (self.apparmor, "AppArmor"),
        ] {
            if is {
                write!(f, ", {what}")?;
            }
        }
        write!(f, "; a slice is {} instructions", self.slice)
    }
}

/// What is compared with each other, on any number of processors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Series {
    /// The guest's kernel.
    pub kernel: String,
    /// How connections come to workers.
    pub kind: String,
}

impl Display for Series {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match (&*self.kernel, &*self.kind) {
            ("stock", kind) => write!(f, "stock {kind}"),
            ("fastsocket", "fastsocket") => write!(f, "fastsocket"),
            (kernel, kind) => write!(f, "{kind} on kernel {kernel}"),
        }
    }
}

/// The place of a name: those that are known come first, in their order.
pub(crate) fn rank<'a>(name: &'a str, known: &[&str]) -> (usize, &'a str) {
    let place = known.iter().position(|other| *other == name);
    (place.unwrap_or(known.len()), name)
}

/// The order of [`Series::kernel`].
pub(crate) const KERNELS: &[&str] = &["stock", "fastsocket"];
/// The order of [`Series::kind`].
pub(crate) const KINDS: &[&str] = &[
    "single",
    "reuseport",
    "reuseport-cbpf",
    "fastsocket",
    "fastsocket-rfd",
];

/// One file.
#[derive(Debug)]
pub struct Run {
    /// What the file is called.
    pub file: String,
    /// What was run.
    pub setting: Setting,
    /// Of which kind.
    pub series: Series,
    /// How many connections there were before the marks, and how many of them came to
    /// the worker of the CPU that received them.
    pub accepted: (u32, u32),
    /// What was counted: one connection and one instruction at least, so that there is
    /// something to divide by.
    pub region: Region,
}

impl Run {
    /// Reads what `resolve` wrote, but no more than `top` entries of its lists.
    pub fn parse(file: &str, json: &str, top: usize) -> Result<Self, String> {
        let mut report: Report = serde_json::from_str(json)
            .map_err(|error| format!("{file}: not what resolve writes: {error}"))?;
        let Some(workload) = report.workload else {
            return Err(format!("{file}: does not say what was run"));
        };
        let regions = report.regions.len();
        let Some(mut region) = report.regions.pop().filter(|_| regions == 1) else {
            return Err(format!("{file}: has {regions} regions instead of one"));
        };
        let executed = region.total.kernel > 0 || region.total.user > 0;
        if region.units == 0 || region.processors == 0 || !executed {
            return Err(format!("{file}: no connection was counted"));
        }
        region.truncate(top);
        Ok(Self {
            file: file.to_owned(),
            setting: Setting {
                network: workload.network,
                clients: workload.clients,
                proxy: workload.proxy,
                tcp_no_metrics_save: workload.tcp_no_metrics_save,
                apparmor: workload.apparmor,
                slice: report.slice,
            },
            series: Series {
                kernel: report.kernel,
                kind: workload.kind,
            },
            accepted: (workload.accepted, workload.accepted_local),
            region,
        })
    }

    /// What no two of the runs may have in common, in the order of the tables.
    fn key(&self) -> impl Ord + '_ {
        let (setting, series) = (&self.setting, &self.series);
        (
            &setting.network,
            rank(&setting.clients, &["one", "many"]),
            (setting.proxy, setting.tcp_no_metrics_save, setting.apparmor),
            setting.slice,
            self.region.processors,
            rank(&series.kind, KINDS),
            rank(&series.kernel, KERNELS),
        )
    }

    /// Instructions in the kernel by function.
    fn functions(&self) -> Counts<'_> {
        let region = &self.region;
        Counts::of(&region.profile.functions, region.units)
    }

    /// And by entry.
    fn entries(&self) -> Counts<'_> {
        let entries = self.region.profile.entries.iter();
        Counts::new(entries.map(|e| (&*e.what, e.own)), self.region.units)
    }

    fn counted(&self) -> Counted {
        let (total, units) = (self.region.total, self.region.units);
        let (accepted, local) = self.accepted;
        Counted {
            connections: units,
            kernel_instructions: ratio(total.kernel, units),
            user_instructions: ratio(total.user, units),
            transfers: ratio(total.transfers(), units),
            kernel_transfers: ratio(total.kernel_loads + total.kernel_stores, units),
            local_percent: (accepted > 0).then(|| ratio(100 * u64::from(local), accepted.into())),
            pauses: ratio(total.pauses, units),
            waiting_instructions: ratio(total.pauses.saturating_mul(self.setting.slice), units),
        }
    }
}

impl Display for Run {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let cpus = self.region.processors;
        let s = if cpus == 1 { "" } else { "s" };
        write!(f, "{} on {cpus} CPU{s}, {}", self.series, self.setting)
    }
}

/// In the order of the tables. An error if two are of the same.
pub fn sorted(mut runs: Vec<Run>) -> Result<Vec<Run>, String> {
    // Stable, so that the error is the same however often it comes.
    runs.sort_by(|a, b| a.key().cmp(&b.key()));
    match runs.windows(2).find(|two| two[0].key() == two[1].key()) {
        Some(two) => Err(format!(
            "{} and {} are both {}",
            two[0].file, two[1].file, two[0]
        )),
        None => Ok(runs),
    }
}

/// The parameters of the model.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// Cycles that an instruction takes. Not zero.
    pub cpi: f64,
    /// Cycles that a transfer takes.
    pub latency: f64,
}

impl Model {
    /// A connection's.
    fn cycles(&self, region: &Region) -> f64 {
        let total = &region.total;
        let instructions = total.kernel as f64 + total.user as f64;
        let transfers = total.transfers() as f64;
        (instructions * self.cpi + transfers * self.latency) / region.units as f64
    }
}

impl Display for Model {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { cpi, latency } = self;
        write!(
            f,
            "cycles = instructions x {cpi} (CPI) + transfers x {latency} (latency)"
        )
    }
}

/// What the model does not know of, to be said wherever its figures are shown.
pub const LEFT_OUT: &str = "waiting, bandwidth, misses that are no sharing, and the size of caches";

/// What was counted, for each connection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Counted {
    /// How many there were: [`Region::units`].
    pub connections: u64,
    /// Instructions in the kernel.
    pub kernel_instructions: f64,
    /// Instructions in programs.
    pub user_instructions: f64,
    /// Transfers, wherever they were.
    pub transfers: f64,
    /// Those of them that were in the kernel.
    pub kernel_transfers: f64,
    /// How many of a hundred connections came to the worker of the CPU that received
    /// them. None if that was not counted.
    pub local_percent: Option<f64>,
    /// Turns of waiting loops.
    pub pauses: f64,
    /// The same as instructions, if each turn lasts a slice: a lower bound.
    pub waiting_instructions: f64,
}

/// What the model says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Modelled {
    /// Cycles a connection.
    pub cycles: f64,
    /// How many times as many connections there are in the same time as on
    /// `least_cpus`.
    pub throughput: f64,
    /// The fewest CPUs of the series.
    pub least_cpus: usize,
}

/// A run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// What was run.
    pub setting: Setting,
    /// On how many CPUs.
    pub cpus: usize,
    /// Of which kind.
    pub series: Series,
    /// What was counted.
    pub counted: Counted,
    /// And what was not.
    pub model: Modelled,
}

/// All runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// With which parameters [`Row::model`] was computed.
    pub model: Model,
    /// The runs.
    pub rows: Vec<Row>,
}

impl Comparison {
    /// Of runs that are [`sorted`].
    pub fn new(runs: &[Run], model: Model) -> Self {
        let row = |run: &Run| {
            let same = |other: &&Run| other.setting == run.setting && other.series == run.series;
            let least = runs
                .iter()
                .filter(same)
                .min_by_key(|other| other.region.processors)
                .unwrap_or(run);
            let speed = |run: &Run| run.region.processors as f64 / model.cycles(&run.region);
            Row {
                setting: run.setting.clone(),
                cpus: run.region.processors,
                series: run.series.clone(),
                counted: run.counted(),
                model: Modelled {
                    cycles: rounded(model.cycles(&run.region)),
                    throughput: rounded(speed(run) / speed(least)),
                    least_cpus: least.region.processors,
                },
            }
        };
        Self {
            model,
            rows: runs.iter().map(row).collect(),
        }
    }

    /// The rows of each setting.
    pub fn settings(&self) -> impl Iterator<Item = &[Row]> {
        self.rows.chunk_by(|a, b| a.setting == b.setting)
    }

    /// The tables: first what was counted, and after all of that the model.
    pub fn print(&self, to: &mut impl Write) -> io::Result<()> {
        writeln!(
            to,
            "Counted, for each connection. Transfers are of cache lines between CPUs. Local are the connections that came\n\
             to the worker of the CPU that received them. Waiting is a lower bound: a slice for each turn of a loop."
        )?;
        for rows in self.settings() {
            writeln!(to, "\n{}\n", rows[0].setting)?;
            let cells: Vec<_> = rows.iter().map(counted_cells).collect();
            text::table(to, &COUNTED, &cells)?;
        }
        writeln!(
            to,
            "\nA MODEL, no measurement: {}, the kernel's and the\n\
             programs'. It leaves out {LEFT_OUT}.\n\
             Throughput is relative to the same kernel and kind on its fewest CPUs.",
            self.model
        )?;
        for rows in self.settings() {
            writeln!(to, "\nModel: {}\n", rows[0].setting)?;
            let cells: Vec<_> = rows.iter().map(modelled_cells).collect();
            text::table(to, &MODELLED, &cells)?;
        }
        Ok(())
    }
}

const COUNTED: [Column; 11] = [
    numbers("", "CPUs"),
    names("kernel"),
    names("kind"),
    numbers("", "connections"),
    numbers("instructions", "kernel"),
    numbers("instructions", "user"),
    numbers("transfers", "all"),
    numbers("transfers", "in kernel"),
    numbers("", "local %"),
    numbers("waiting in kernel", "turns"),
    numbers("waiting in kernel", "instructions"),
];

const MODELLED: [Column; 6] = [
    numbers("", "CPUs"),
    names("kernel"),
    names("kind"),
    numbers("modelled", "cycles"),
    numbers("modelled", "throughput"),
    numbers("relative to", "CPUs"),
];

fn name_cells(row: &Row) -> Vec<String> {
    vec![
        row.cpus.to_string(),
        row.series.kernel.clone(),
        row.series.kind.clone(),
    ]
}

fn counted_cells(row: &Row) -> Vec<String> {
    let counted = &row.counted;
    let local = counted.local_percent;
    let mut cells = name_cells(row);
    cells.extend([
        counted.connections.to_string(),
        format!("{:.0}", counted.kernel_instructions),
        format!("{:.0}", counted.user_instructions),
        format!("{:.1}", counted.transfers),
        format!("{:.1}", counted.kernel_transfers),
        local.map_or("-".to_owned(), |percent| format!("{percent:.1}")),
        format!("{:.1}", counted.pauses),
        format!("{:.0}", counted.waiting_instructions),
    ]);
    cells
}

fn modelled_cells(row: &Row) -> Vec<String> {
    let mut cells = name_cells(row);
    cells.extend([
        format!("{:.0}", row.model.cycles),
        format!("{:.2}", row.model.throughput),
        row.model.least_cpus.to_string(),
    ]);
    cells
}

/// The lists of each run, as long as they were read.
pub fn print_lists(to: &mut impl Write, runs: &[Run], top: usize) -> io::Result<()> {
    for run in runs {
        writeln!(to, "\n{run}; for each connection:")?;
        text::lists(to, &run.region, List::BRIEF, top)?;
    }
    Ok(())
}

/// By how many instructions in the kernel each run differs from the one before it, if both
/// are of the same but for their series.
pub fn print_differences(to: &mut impl Write, runs: &[Run], top: usize) -> io::Result<()> {
    let comparable = |a: &Run, b: &Run| {
        let cpus = |run: &Run| run.region.processors;
        a.setting == b.setting && cpus(a) == cpus(b)
    };
    for two in runs.windows(2).filter(|two| comparable(&two[0], &two[1])) {
        let (a, b) = (&two[0], &two[1]);
        writeln!(
            to,
            "\nInstructions in the kernel, for each connection.\nA: {a}\nB: {b}\n"
        )?;
        let all = differences(&a.functions(), &b.functions());
        difference::print(to, "function", &all, top)?;
        writeln!(to)?;
        let all = differences(&a.entries(), &b.entries());
        difference::print(to, "entry, without what came in between", &all, top)?;
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{
        profile::Profile,
        raw::Cpu,
        resolve::{Sum, Workload},
    };

    /// A run of 10 connections that take 90000 and 10000 instructions each.
    pub(crate) fn run(kernel: &str, kind: &str, processors: usize, transfers: u64) -> Run {
        let report = report(kernel, kind, processors, transfers);
        let json = serde_json::to_string(&report).unwrap();
        Run::parse(&format!("{kernel}-{kind}-{processors}"), &json, 1).unwrap()
    }

    fn report(kernel: &str, kind: &str, processors: usize, transfers: u64) -> Report {
        Report {
            kernel: kernel.into(),
            workload: Some(Workload {
                kind: kind.into(),
                proxy: false,
                tcp_no_metrics_save: false,
                apparmor: false,
                network: "lo".into(),
                clients: "one".into(),
                connections: 5,
                warm_up: 5,
                accepted: 8,
                accepted_local: 1,
            }),
            slice: 200,
            regions: vec![Region {
                units: 10,
                processors,
                total: Cpu {
                    kernel: 900_000,
                    user: 100_000,
                    pauses: 15,
                    kernel_loads: 10 * transfers,
                    user_stores: 1,
                    ..Default::default()
                },
                functions: vec![
                    Sum {
                        what: "tcp_v4_rcv".into(),
                        count: 5,
                        per_unit: 0.5,
                    },
                    Sum {
                        what: "ip_rcv".into(),
                        count: 4,
                        per_unit: 0.4,
                    },
                ],
                profile: Profile {
                    functions: vec![Sum {
                        what: "tcp_ack".into(),
                        count: 20 + transfers,
                        per_unit: ratio(20 + transfers, 10),
                    }],
                    ..Default::default()
                },
                ..Default::default()
            }],
        }
    }

    const MODEL: Model = Model {
        cpi: 1.0,
        latency: 150.0,
    };

    fn compare(runs: Vec<Run>) -> Comparison {
        Comparison::new(&sorted(runs).unwrap(), MODEL)
    }

    fn printed(comparison: &Comparison) -> String {
        let mut to = Vec::new();
        comparison.print(&mut to).unwrap();
        String::from_utf8(to).unwrap()
    }

    #[test]
    fn the_model_is_what_it_says() {
        let runs = || {
            let mut runs = vec![
                run("stock", "single", 2, 0),
                run("stock", "single", 8, 400),
                run("stock", "reuseport", 8, 400),
            ];
            for run in &mut runs {
                run.region.total.user_stores = 0;
            }
            sorted(runs).unwrap()
        };
        let of = |model| -> Vec<_> {
            let rows = Comparison::new(&runs(), model).rows.into_iter();
            rows.map(|row| (row.model.cycles, row.model.throughput, row.model.least_cpus))
                .collect()
        };
        // 8 / 160000 to 2 / 100000, and a series that has nothing but its one run.
        assert_eq!(
            of(MODEL),
            [
                (100_000.0, 1.0, 2),
                (160_000.0, 2.5, 2),
                (160_000.0, 1.0, 8)
            ]
        );
        // 8 / 90000 to 2 / 50000.
        let model = Model {
            cpi: 0.5,
            latency: 100.0,
        };
        assert_eq!(
            of(model),
            [
                (50_000.0, 1.0, 2),
                (90_000.0, 2.2222, 2),
                (90_000.0, 1.0, 8)
            ]
        );
    }

    #[test]
    fn counts_are_for_each_connection() {
        let mut run = run("stock", "single", 4, 12);
        assert_eq!(
            run.counted(),
            Counted {
                connections: 10,
                kernel_instructions: 90_000.0,
                user_instructions: 10_000.0,
                transfers: 12.1,
                kernel_transfers: 12.0,
                local_percent: Some(12.5),
                pauses: 1.5,
                waiting_instructions: 300.0,
            }
        );
        run.accepted = (0, 0);
        assert_eq!(run.counted().local_percent, None);
        assert!(printed(&compare(vec![run])).contains("   -    1.5"));
    }

    #[test]
    fn the_tables_are_in_order() {
        let mut proxy = run("stock", "single", 1, 3);
        proxy.setting.proxy = true;
        let mut many = run("stock", "single", 1, 0);
        many.setting.clients = "many".into();
        many.region.units = 20;
        let comparison = compare(vec![
            proxy,
            many,
            run("fastsocket", "fastsocket", 16, 50),
            run("stock", "reuseport-cbpf", 16, 40),
            run("stock", "another", 16, 7),
            run("fastsocket", "reuseport", 16, 500),
            run("stock", "reuseport", 16, 500),
            run("stock", "single", 16, 600),
            run("stock", "single", 1, 0),
        ]);
        let text = printed(&comparison);
        let (counted, model) = text.split_once("\n\nA MODEL, no measurement: ").unwrap();
        let (_, counted) = counted.split_once("\n\n").unwrap();
        assert_eq!(
            counted,
            "\
lo, one client address; a slice is 200 instructions

                                                instructions         transfers             waiting in kernel
CPUs  kernel      kind            connections  kernel   user    all  in kernel  local %  turns  instructions
   1  stock       single                   10   90000  10000    0.1        0.0     12.5    1.5           300
  16  stock       single                   10   90000  10000  600.1      600.0     12.5    1.5           300
  16  stock       reuseport                10   90000  10000  500.1      500.0     12.5    1.5           300
  16  fastsocket  reuseport                10   90000  10000  500.1      500.0     12.5    1.5           300
  16  stock       reuseport-cbpf           10   90000  10000   40.1       40.0     12.5    1.5           300
  16  fastsocket  fastsocket               10   90000  10000   50.1       50.0     12.5    1.5           300
  16  stock       another                  10   90000  10000    7.1        7.0     12.5    1.5           300

lo, one client address, proxy; a slice is 200 instructions

                                    instructions       transfers             waiting in kernel
CPUs  kernel  kind    connections  kernel   user  all  in kernel  local %  turns  instructions
   1  stock   single           10   90000  10000  3.1        3.0     12.5    1.5           300

lo, many client addresses; a slice is 200 instructions

                                   instructions       transfers             waiting in kernel
CPUs  kernel  kind    connections  kernel  user  all  in kernel  local %  turns  instructions
   1  stock   single           20   45000  5000  0.1        0.0     12.5    0.8           150"
        );
        let (head, model) = model.split_once("\n\n").unwrap();
        assert!(head.starts_with("cycles = instructions x 1 (CPI) + transfers x 150 (latency)"));
        assert!(head.contains(LEFT_OUT));
        let (model, _) = model
            .split_once("\n\nModel: lo, one client address, proxy")
            .unwrap();
        assert_eq!(
            model,
            "\
Model: lo, one client address; a slice is 200 instructions

                                            modelled  relative to
CPUs  kernel      kind            cycles  throughput         CPUs
   1  stock       single          100015        1.00            1
  16  stock       single          190015        8.42            1
  16  stock       reuseport       175015        1.00           16
  16  fastsocket  reuseport       175015        1.00           16
  16  stock       reuseport-cbpf  106015        1.00           16
  16  fastsocket  fastsocket      107515        1.00           16
  16  stock       another         101065        1.00           16"
        );
    }

    #[test]
    fn lines_are_not_too_long() {
        let mut run = run("fastsocket", "reuseport-cbpf", 24, 600);
        run.region.units = 48_000;
        run.region.total.kernel *= 50_000;
        run.region.total.pauses *= 40_000;
        for line in printed(&compare(vec![run])).lines() {
            assert!(line.chars().count() <= 120, "{line}");
            assert_eq!(line, line.trim_end());
        }
    }

    #[test]
    fn two_runs_of_the_same_are_an_error() {
        let mut again = run("stock", "single", 4, 1);
        again.file = "again".into();
        let error = sorted(vec![
            run("stock", "single", 4, 0),
            run("fastsocket", "single", 4, 0),
            again,
        ]);
        assert_eq!(
            error.unwrap_err(),
            "stock-single-4 and again are both stock single on 4 CPUs, \
             lo, one client address; a slice is 200 instructions"
        );
        let mut guarded = run("stock", "single", 4, 0);
        guarded.setting.apparmor = true;
        guarded.setting.tcp_no_metrics_save = true;
        assert_eq!(
            guarded.setting.to_string(),
            "lo, one client address, tcp_no_metrics_save=1, AppArmor; a slice is 200 instructions"
        );
        assert!(sorted(vec![run("stock", "single", 4, 0), guarded]).is_ok());
        // Of which anything is another is not the same.
        let mut slice = run("stock", "single", 4, 0);
        slice.setting.slice = 50;
        assert!(sorted(vec![run("stock", "single", 4, 0), slice]).is_ok());
    }

    #[test]
    fn what_is_no_report_is_an_error() {
        let error = |report: &Report| {
            let json = serde_json::to_string(report).unwrap();
            Run::parse("f", &json, 0).unwrap_err()
        };
        let one = || report("stock", "single", 4, 0);
        let (mut idle, mut none, mut two) = (one(), one(), one());
        idle.regions[0].units = 0;
        none.workload = None;
        two.regions.push(Region::default());
        assert_eq!(error(&idle), "f: no connection was counted");
        assert_eq!(error(&none), "f: does not say what was run");
        assert_eq!(error(&two), "f: has 2 regions instead of one");
        two.regions.clear();
        assert_eq!(error(&two), "f: has 0 regions instead of one");
        let error = Run::parse("f", "{\"format\": 1}", 0).unwrap_err();
        assert!(error.starts_with("f: not what resolve writes: "), "{error}");
        assert!(error.contains("missing field"), "{error}");
    }

    #[test]
    fn json_says_the_same() {
        let mut unknown = run("stock", "single", 4, 333);
        unknown.accepted = (0, 0);
        let comparison = compare(vec![unknown, run("fastsocket", "fastsocket", 1, 0)]);
        let json = serde_json::to_string(&comparison).unwrap();
        let read: Comparison = serde_json::from_str(&json).unwrap();
        assert_eq!(read, comparison);
        assert_eq!(printed(&read), printed(&comparison));
        assert!(json.contains("\"local_percent\":null"), "{json}");
    }

    #[test]
    fn series_are_named_plainly() {
        let name = |kernel: &str, kind: &str| {
            let (kernel, kind) = (kernel.into(), kind.into());
            Series { kernel, kind }.to_string()
        };
        assert_eq!(name("stock", "reuseport-cbpf"), "stock reuseport-cbpf");
        assert_eq!(name("fastsocket", "fastsocket"), "fastsocket");
        assert_eq!(name("fastsocket", "single"), "single on kernel fastsocket");
    }

    #[test]
    fn lists_are_of_each_run() {
        let runs = [run("stock", "single", 1, 0)];
        let mut to = Vec::new();
        print_lists(&mut to, &runs, 3).unwrap();
        let text = String::from_utf8(to).unwrap();
        assert!(text.starts_with("\nstock single on 1 CPU, lo, "), "{text}");
        assert!(text.contains("\n     0.500  tcp_v4_rcv\n"), "{text}");
        assert!(!text.contains("ip_rcv"), "{text}");
    }

    #[test]
    fn runs_differ_from_the_one_before_that_is_like_them() {
        let runs = sorted(vec![
            run("fastsocket", "fastsocket", 4, 7),
            run("stock", "single", 4, 0),
            run("stock", "single", 1, 0),
        ]);
        let mut to = Vec::new();
        print_differences(&mut to, &runs.unwrap(), 3).unwrap();
        let text = String::from_utf8(to).unwrap();
        assert_eq!(text.matches("\nA: ").count(), 1, "{text}");
        assert!(text.contains("A: stock single on 4 CPUs, lo, "), "{text}");
        assert!(text.contains("B: fastsocket on 4 CPUs, lo, "), "{text}");
        assert!(text.contains("\n +0.7  2.0  2.7  tcp_ack\n"), "{text}");
    }
}
