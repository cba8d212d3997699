// SPDX-License-Identifier: GPL-2.0

//! Names what the coherence plugin counted.

use clap::Parser;
use fastsocket_coherence::{
    compare::{self, Comparison, Model},
    plot,
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
    Compare(Compare),
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

/// Puts what resolve wrote of several runs side by side.
#[derive(clap::Args)]
struct Compare {
    /// For the model: cycles an instruction
    #[arg(long, value_name = "CYCLES", default_value = "1.0", value_parser = positive)]
    cpi: f64,
    /// For the model: cycles a transfer
    #[arg(long, value_name = "CYCLES", default_value = "150", value_parser = not_negative)]
    latency: f64,
    /// The first N of the lists of each run as well, and of what it differs in from the one before
    #[arg(long, value_name = "N")]
    symbols: Option<usize>,
    /// Where to write the tables as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where to write a picture
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// What resolve wrote
    #[arg(required = true, value_name = "FILE")]
    runs: Vec<PathBuf>,
}

fn not_negative(text: &str) -> Result<f64, String> {
    let value = text.parse().ok();
    value
        .filter(|value| (0.0..=1e9).contains(value))
        .ok_or_else(|| "not a number of cycles".to_owned())
}

fn positive(text: &str) -> Result<f64, String> {
    let value = not_negative(text)?;
    (value > 0.0)
        .then_some(value)
        .ok_or_else(|| "zero".to_owned())
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
    let report = resolve::report(&args.kernel, workload, &run, &symbols)
        .map_err(|error| format!("{}: {error}", args.counts.display()))?;
    print(&report, args.top).map_err(|error| error.to_string())
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

fn compare(args: &Compare) -> Result<(), String> {
    let top = args.symbols.unwrap_or(0);
    let run = |path: &PathBuf| compare::Run::parse(&path.display().to_string(), &read(path)?, top);
    let runs: Result<_, String> = args.runs.iter().map(run).collect();
    let runs = compare::sorted(runs?)?;
    let model = Model {
        cpi: args.cpi,
        latency: args.latency,
    };
    let comparison = Comparison::new(&runs, model);
    if let Some(path) = &args.json {
        let json = serde_json::to_string_pretty(&comparison).map_err(|e| e.to_string())?;
        write(path, &(json + "\n"))?;
    }
    if let Some(path) = &args.svg {
        write(path, &plot::svg(&comparison)?)?;
    }
    let print = || {
        let mut out = io::BufWriter::new(io::stdout().lock());
        comparison.print(&mut out)?;
        if let Some(top) = args.symbols {
            compare::print_lists(&mut out, &runs, top)?;
            compare::print_differences(&mut out, &runs, top)?;
        }
        out.flush()
    };
    print().map_err(|error: io::Error| error.to_string())
}

fn main() -> ExitCode {
    let result = match Command::parse() {
        Command::Resolve(args) => resolve(&args),
        Command::Compare(args) => compare(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fastsocket-coherence: {error}");
            ExitCode::FAILURE
        }
    }
}
