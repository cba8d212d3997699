// SPDX-License-Identifier: GPL-2.0

//! Names what the coherence plugin counted.

use clap::Parser;
use fastsocket_coherence::{
    raw::{self, FORMAT},
    resolve::{self, Report, Workload},
    symbols::Symbols,
    text,
};
use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Names what the coherence plugin counted, and puts several runs side by side.
#[derive(Parser)]
enum Command {
    Resolve(Resolve),
}

/// Names what was counted in one run: functions, and fields of objects.
#[derive(clap::Args)]
struct Resolve {
    /// System.map of the guest's kernel
    #[arg(long, value_name = "FILE")]
    map: PathBuf,
    /// What the guest printed: its workload, and the symbols of its modules
    #[arg(long, value_name = "FILE")]
    console: Option<PathBuf>,
    /// What to call the guest's kernel
    #[arg(long, default_value = "fastsocket")]
    kernel: String,
    /// A table of the first N of each list, instead of all as JSON
    #[arg(long, value_name = "N")]
    top: Option<usize>,
    /// What the plugin wrote
    counts: PathBuf,
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn print(report: &Report, top: Option<usize>) -> io::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    match top {
        Some(top) => {
            for region in &report.regions {
                text::region(&mut out, region, top)?;
            }
        }
        None => {
            serde_json::to_writer_pretty(&mut out, report)?;
            writeln!(out)?;
        }
    }
    out.flush()
}

/// A serial console's.
fn lines(console: &str) -> impl Iterator<Item = &str> {
    console.lines().map(str::trim_end)
}

/// The lines of `/proc/kallsyms` that are a module's.
fn module_symbols(console: &str) -> String {
    let is_symbol = |line: &&str| {
        let address = line.split(' ').next().unwrap_or_default();
        address.len() == 16 && line.ends_with(']') && u64::from_str_radix(address, 16).is_ok()
    };
    let lines: Vec<_> = lines(console).filter(is_symbol).collect();
    lines.join("\n")
}

/// What the workload printed of itself.
fn stated_workload(console: &str) -> Result<Option<Workload>, String> {
    let stated = |line: &'_ str| line.strip_prefix(STATED).map(str::to_owned);
    let Some(json) = lines(console).find_map(stated) else {
        return Ok(None);
    };
    serde_json::from_str(&json).map_err(|error| format!("{json}: {error}"))
}

/// Begins the workload's line about itself.
const STATED: &str = "coherence-workload: is ";

fn resolve(args: &Resolve) -> Result<(), String> {
    let mut symbols = Symbols::parse(&read(&args.map)?);
    let mut workload = None;
    if let Some(path) = &args.console {
        let console = read(path)?;
        symbols.add(&module_symbols(&console));
        workload = stated_workload(&console)?;
    }
    let counts = read(&args.counts)?;
    let run: raw::Run = serde_json::from_str(&counts)
        .ok()
        .filter(|run: &raw::Run| run.format == FORMAT)
        .ok_or_else(|| format!("{}: not what the plugin writes", args.counts.display()))?;
    let report = resolve::report(&args.kernel, workload, &run, &symbols);
    print(&report, args.top).map_err(|error| error.to_string())
}

fn main() -> ExitCode {
    let result = match Command::parse() {
        Command::Resolve(args) => resolve(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fastsocket-coherence: {error}");
            ExitCode::FAILURE
        }
    }
}
