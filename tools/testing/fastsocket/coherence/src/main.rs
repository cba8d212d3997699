// SPDX-License-Identifier: GPL-2.0

//! Names what the coherence plugin counted.

use clap::Parser;
use fastsocket_coherence::{
    raw::{Run, FORMAT},
    resolve::{self, Region, Report, Sum},
    symbols::Symbols,
};
use std::{
    fmt::Display,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Names what the coherence plugin counted: functions, and fields of objects.
#[derive(Parser)]
struct Args {
    /// System.map of the guest's kernel
    #[arg(long, value_name = "FILE")]
    map: PathBuf,
    /// /proc/kallsyms of the guest, for what is in modules
    #[arg(long, value_name = "FILE")]
    kallsyms: Option<PathBuf>,
    /// A table of the first N of each list, instead of all as JSON
    #[arg(long, value_name = "N")]
    top: Option<usize>,
    /// What the plugin wrote
    counts: PathBuf,
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn list<K: Display>(
    to: &mut impl Write,
    title: &str,
    sums: &[Sum<K>],
    top: usize,
) -> io::Result<()> {
    writeln!(to, "\n{:>10}  {title}", "transfers")?;
    for sum in sums.iter().take(top) {
        writeln!(to, "{:>10.3}  {}", sum.per_unit, sum.what)?;
    }
    Ok(())
}

fn table(to: &mut impl Write, region: &Region, top: usize) -> io::Result<()> {
    let per = &region.per_unit;
    writeln!(
        to,
        "{} connections on {} CPUs; for each:",
        region.units, region.processors
    )?;
    writeln!(to, "{:>10.1}  instructions in the kernel", per.kernel)?;
    writeln!(to, "{:>10.1}  instructions in programs", per.user)?;
    writeln!(
        to,
        "{:>10.2}  transfers in the kernel",
        per.kernel_transfers
    )?;
    writeln!(to, "{:>10.2}  transfers in programs", per.user_transfers)?;
    writeln!(
        to,
        "{:>10.2}  turns of waiting loops in the kernel",
        per.pauses
    )?;
    list(to, "function", &region.functions, top)?;
    list(to, "instruction", &region.code, top)?;
    list(to, "object", &region.objects, top)?;
    list(to, "part of it", &region.data, top)?;
    writeln!(to, "\n{:>10}  instruction, part of object", "transfers")?;
    for sum in region.pairs.iter().take(top) {
        let (code, data, access) = &sum.what;
        writeln!(to, "{:>10.3}  {code}  {access:?}  {data}", sum.per_unit)?;
    }
    writeln!(to)
}

fn print(report: &Report, top: Option<usize>) -> io::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    match top {
        Some(top) => {
            for region in &report.regions {
                table(&mut out, region, top)?;
            }
        }
        None => {
            serde_json::to_writer_pretty(&mut out, report)?;
            writeln!(out)?;
        }
    }
    out.flush()
}

fn run(args: &Args) -> Result<(), String> {
    let mut symbols = Symbols::parse(&read(&args.map)?);
    if let Some(path) = &args.kallsyms {
        symbols.add(&read(path)?);
    }
    let counts = read(&args.counts)?;
    let run: Run = serde_json::from_str(&counts)
        .ok()
        .filter(|run: &Run| run.format == FORMAT)
        .ok_or_else(|| format!("{}: not what the plugin writes", args.counts.display()))?;
    print(&resolve::report(&run, &symbols), args.top).map_err(|error| error.to_string())
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fastsocket-coherence: {error}");
            ExitCode::FAILURE
        }
    }
}
