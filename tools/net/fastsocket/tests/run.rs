// SPDX-License-Identifier: GPL-2.0

//! `fastsocket run` as an init of one program, with or without the device.

mod common;

use common::{fastsocket, output, stderr, without_device};
use std::fs;
use std::io::{BufRead, BufReader, Lines};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

fn run(script: &str) -> Output {
    output(&["run", "--", "sh", "-c", script])
}

#[track_caller]
fn assert_status(output: &Output, status: i32) {
    assert_eq!(output.status.code(), Some(status), "{}", stderr(output));
}

/// A place for a file of a test's own.
fn file(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_file(&path);
    path
}

#[track_caller]
fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < PATIENCE, "not yet: {what}");
        sleep(Duration::from_millis(10));
    }
}

/// A launcher with a script for its program.
struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    /// Starts it, and waits for the script's first line.
    fn new(script: &str) -> Self {
        let mut child = fastsocket()
            .args(["run", "--", "sh", "-c", script])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let stdout = child.stdout.take().expect("a pipe");
        let mut running = Self {
            child,
            lines: BufReader::new(stdout).lines(),
        };
        assert_eq!(running.line(), "ready");
        running
    }

    fn line(&mut self) -> String {
        self.lines.next().expect("a line").expect("in UTF-8")
    }

    fn kill(&self, signal: &str) {
        kill(&self.child.id().to_string(), signal);
    }

    fn state(&self) -> String {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("there");
        let after = stat.rsplit(") ").next().expect("a state");
        after[..1].to_owned()
    }

    fn status(mut self) -> Option<i32> {
        self.child.wait().expect("our child").code()
    }
}

fn kill(pid: &str, signal: &str) {
    let killed = Command::new("kill")
        .args([&format!("-{signal}"), pid])
        .status()
        .expect("kill");
    assert!(killed.success());
}

#[test]
fn ends_as_the_program() {
    for (script, status) in [
        ("exit 0", 0),
        ("exit 7", 7),
        ("exit 255", 255),
        ("kill -TERM $$", 143),
        ("kill -KILL $$", 137),
    ] {
        assert_status(&run(script), status);
    }
}

#[test]
fn program_that_cannot_be_started() {
    assert_status(&output(&["run", "--", "/no/such/program"]), 127);
    assert_status(&output(&["run", "--", "no-such-program-in-the-path"]), 127);
    assert_status(&output(&["run", "--", ""]), 127);
    assert_status(&output(&["run", "--", "/"]), 126);
    let path = file("not-executable");
    fs::write(&path, "exit 0\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let output = output(&["run", "--", path.to_str().unwrap()]);
    assert_status(&output, 126);
    assert!(stderr(&output).contains("not-executable"));
}

#[test]
fn usage_errors_have_a_status_that_is_no_program_s() {
    for args in [
        &["run"][..],
        &["run", "--strict"],
        &["run", "--lax", "true"],
    ] {
        assert_status(&output(args), 125);
    }
}

#[test]
fn one_warning_without_the_device() {
    let output = run("echo served; exit 3");
    assert_status(&output, 3);
    assert_eq!(output.stdout, b"served\n");
    if without_device() {
        let said = stderr(&output);
        assert!(said.starts_with("fastsocket: plain sockets: "), "{said}");
        assert!(said.contains("modprobe fastsocket"), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[test]
fn strict_needs_the_device() {
    let output = output(&["run", "--strict", "sh", "-c", "echo served"]);
    if without_device() {
        assert_status(&output, 125);
        assert!(output.stdout.is_empty());
        assert_eq!(stderr(&output).lines().count(), 1);
    } else {
        assert_status(&output, 0);
    }
}

#[test]
fn hands_signals_on() {
    for signal in [
        "HUP", "INT", "QUIT", "TERM", "USR1", "USR2", "WINCH", "CONT", "TTIN", "TTOU", "ALRM",
    ] {
        let mut running = Running::new(&format!(
            "trap 'echo got; exit 9' {signal}; echo ready; while :; do sleep 0.02; done"
        ));
        running.kill(signal);
        assert_eq!(running.line(), "got", "{signal}");
        assert_eq!(running.status(), Some(9), "{signal}");
    }
}

#[test]
fn killed_by_a_signal_that_was_handed_on() {
    let running = Running::new("echo ready; exec sleep 600");
    running.kill("TERM");
    assert_eq!(running.status(), Some(143));
}

#[test]
fn stops_and_continues() {
    let mut running = Running::new(
        "trap 'echo stop' TSTP; trap 'echo continue' CONT; trap 'exit 4' TERM; echo ready
        while :; do sleep 0.02; done",
    );
    running.kill("TSTP");
    assert_eq!(running.line(), "stop");
    wait_for("a stop", || running.state() == "T");
    running.kill("CONT");
    assert_eq!(running.line(), "continue");
    running.kill("TERM");
    assert_eq!(running.status(), Some(4));
}

#[test]
fn nothing_is_handed_back() {
    let script = "trap 'echo back' USR1; trap 'exit 5' TERM; echo ready
        sh -c 'kill -USR1 '$PPID'; sleep 0.3'; echo end; while :; do sleep 0.02; done";
    let mut running = Running::new(script);
    assert_eq!(running.line(), "end");
    running.kill("TERM");
    assert_eq!(running.status(), Some(5));
}

/// The program ends at once, its daemon has a session of its own.
#[test]
fn waits_for_a_daemon() {
    let done = file("daemon-done");
    let script = format!(
        "(setsid sh -c 'sleep 0.5; echo >{}' >/dev/null 2>&1 </dev/null &) ; exit 6",
        done.display()
    );
    let output = run(&script);
    assert_status(&output, 6);
    assert!(done.exists());
}

#[test]
fn a_daemon_gets_the_signals() {
    let pid = file("daemon-pid");
    let done = file("daemon-stopped");
    let running = Running::new(&format!(
        "(setsid sh -c 'trap \"echo >{}; exit\" TERM; echo $$ >{pid}.new; mv {pid}.new {pid}
            while :; do sleep 0.02; done' >/dev/null 2>&1 </dev/null &)
        echo ready; exit 8",
        done.display(),
        pid = pid.display()
    ));
    wait_for("the daemon", || pid.exists());
    let own = running.child.id();
    // A signal that comes before it has adopted the daemon is the program's.
    wait_for("its adoption", || {
        let daemon = fs::read_to_string(&pid).unwrap();
        let stat = fs::read_to_string(format!("/proc/{}/stat", daemon.trim())).unwrap();
        stat.contains(&format!(" {own} "))
    });
    wait_for("the program's end", || {
        let children = Command::new("pgrep")
            .args(["-c", "-P", &own.to_string()])
            .output()
            .expect("pgrep");
        children.stdout == b"1\n"
    });
    assert!(!done.exists());
    running.kill("TERM");
    assert_eq!(running.status(), Some(8));
    assert!(done.exists());
}

/// What a program finds is what it would find without us.
#[test]
fn the_program_s_surroundings_are_as_without() {
    let look =
        "grep ^Sig /proc/self/status | grep -v SigQ; ls /proc/self/fd; env | sort; ulimit -a";
    for before in [
        "",
        "trap '' PIPE;",
        "trap '' HUP CHLD;",
        "exec 5</dev/null;",
    ] {
        let script = format!("{before} exec \"$@\"");
        let outside = |command: &[&str]| {
            let output = Command::new("sh")
                .args(["-c", &script, "sh"])
                .args(command)
                .stdin(Stdio::null())
                .env("PATH", "/usr/bin:/bin")
                .output()
                .expect("a shell");
            assert!(output.status.success(), "{}", stderr(&output));
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let exe = env!("CARGO_BIN_EXE_fastsocket");
        let with = outside(&[exe, "run", "--", "sh", "-c", look]);
        assert_eq!(with, outside(&["sh", "-c", look]), "{before}");
    }
}

#[test]
fn sockets_and_watchdog_of_a_service_manager_are_the_program_s() {
    let exe = env!("CARGO_BIN_EXE_fastsocket");
    let look = "echo $((LISTEN_PID - $$)) $((WATCHDOG_PID - $$)) $LISTEN_FDS";
    let output = Command::new("sh")
        .args([
            "-c",
            "LISTEN_PID=$$ WATCHDOG_PID=$$ LISTEN_FDS=1 exec \"$@\"",
            "sh",
            exe,
            "run",
            "sh",
            "-c",
            look,
        ])
        .output()
        .expect("a shell");
    assert_eq!(output.stdout, b"0 0 1\n", "{}", stderr(&output));

    let output = fastsocket()
        .args(["run", "sh", "-c", "echo $LISTEN_PID"])
        .env("LISTEN_PID", "1")
        .output()
        .expect("it starts");
    assert_eq!(output.stdout, b"1\n", "another's stays another's");
}

/// A pipe that the program has closed has no writer any more.
#[test]
fn holds_no_descriptor_of_the_program_s() {
    let fifo = file("pipe");
    assert!(Command::new("mkfifo")
        .arg(&fifo)
        .status()
        .unwrap()
        .success());
    let script = format!(
        "timeout 60 cat {path} & reader=$!
        exec 5>{path}
        \"$1\" run sh -c 'exec 5>&-; exec sleep 600' & launcher=$!
        exec 5>&-
        wait $reader; status=$?
        kill $launcher; wait $launcher; exit $status",
        path = fifo.display()
    );
    let status = Command::new("sh")
        .args(["-c", &script, "sh", env!("CARGO_BIN_EXE_fastsocket")])
        .stderr(Stdio::null())
        .status()
        .expect("a shell");
    assert!(status.success(), "somebody else can write to the pipe");
}
