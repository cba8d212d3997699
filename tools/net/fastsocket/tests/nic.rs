// SPDX-License-Identifier: GPL-2.0

//! `fastsocket nic` with a tree of files for `/sys`, `/proc` and `/run`, and no driver to ask. With one, unit
//! tests and a kernel self test run it.

#[path = "common/tree.rs"]
mod tree;

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};
use tree::Tree;

const STATE: &str = "run/fastsocket/nic-eth0.json";

fn tree(name: &str, cpus: u32) -> Tree {
    Tree::new(Path::new(env!("CARGO_TARGET_TMPDIR")), name, cpus)
}

fn output(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fastsocket"));
    command.args(args).output().expect("it starts")
}

fn nic(tree: &Tree, args: &[&str]) -> Output {
    let root = tree.root().to_str().expect("text");
    output(&[&["nic", "--root", root], args].concat())
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
fn well(output: Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    String::from_utf8(output.stdout).expect("text")
}

/// It fails with one line, which is given back.
#[track_caller]
fn refused(output: &Output) -> String {
    let said = stderr(output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(output.stdout.is_empty());
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.starts_with("fastsocket: "), "{said}");
    said
}

/// What it prints for a card with two queues on four CPUs.
const COMMANDS: &str = "\
echo 5 > /sys/class/net/eth0/queues/rx-0/rps_cpus
echo a > /sys/class/net/eth0/queues/rx-1/rps_cpus
echo 5 > /sys/class/net/eth0/queues/tx-0/xps_cpus
echo a > /sys/class/net/eth0/queues/tx-1/xps_cpus
echo 0 > /proc/irq/41/smp_affinity_list
echo 0 > /proc/irq/42/smp_affinity_list
echo 1 > /proc/irq/43/smp_affinity_list
echo 1 > /proc/irq/44/smp_affinity_list
";

#[test]
fn a_card_is_set_and_restored() {
    let tree = tree("card", 4);
    tree.virtio("eth0", 2);
    let before = tree.all();

    assert_eq!(well(nic(&tree, &["eth0", "--dry-run"])), COMMANDS);
    assert_eq!(tree.all(), before);
    assert!(!tree.root().join("run").exists());

    assert!(well(nic(&tree, &["eth0"])).contains("8 settings"));
    for line in COMMANDS.lines() {
        let (value, path) = line
            .trim_start_matches("echo ")
            .split_once(" > /")
            .expect("a command");
        assert_eq!(tree.read(path), value);
    }
    let first = tree.read(STATE);

    // A second time there is nothing to do, and with other CPUs it keeps what was there at first.
    let after = tree.all();
    assert!(well(nic(&tree, &["eth0"])).contains("as it should be"));
    assert_eq!(tree.all(), after);
    well(nic(&tree, &["eth0", "--cpus", "3,1"]));
    assert_eq!(tree.read("proc/irq/42/smp_affinity_list"), "3");
    assert_eq!(tree.read("sys/class/net/eth0/queues/rx-1/rps_cpus"), "0");
    assert_eq!(tree.read(STATE), first);

    let planned = well(nic(&tree, &["eth0", "--undo", "--dry-run"]));
    assert!(
        planned.contains("echo 0-3 > /proc/irq/44/smp_affinity_list\n"),
        "{planned}"
    );
    assert_ne!(tree.all(), before);
    assert!(well(nic(&tree, &["eth0", "--undo"])).contains("restored"));
    assert_eq!(tree.all(), before);
    assert!(!tree.root().join("run/fastsocket").exists());
    assert!(refused(&nic(&tree, &["eth0", "--undo"])).contains("nothing to undo"));
}

#[test]
fn what_others_have_changed_is_set_again() {
    let tree = tree("again", 2);
    tree.virtio("eth0", 2);
    let before = tree.all();
    well(nic(&tree, &["eth0"]));
    tree.write("proc/irq/41/smp_affinity_list", "1\n");
    assert!(well(nic(&tree, &["eth0"])).contains("1 settings"));
    assert_eq!(tree.read("proc/irq/41/smp_affinity_list"), "0");
    well(nic(&tree, &["eth0", "--undo"]));
    assert_eq!(tree.all(), before);
}

#[test]
fn a_device_without_irqs_is_spread_by_rps() {
    let tree = tree("veth", 40);
    tree.device("eth0", 1);
    let before = tree.all();
    let all = "echo ff,ffffffff > /sys/class/net/eth0/queues/rx-0/rps_cpus\n";
    assert_eq!(well(nic(&tree, &["eth0", "--dry-run"])), all);
    let some = well(nic(&tree, &["eth0", "--dry-run", "--cpus", "32-33"]));
    assert_eq!(some, all.replace("ff,ffffffff", "3,00000000"));
    well(nic(&tree, &["eth0"]));
    well(nic(&tree, &["eth0", "--undo"]));
    assert_eq!(tree.all(), before);
}

#[test]
fn irqs_go_to_cpus_near_the_card() {
    let tree = tree("near", 4);
    tree.virtio("eth0", 2);
    tree.write("sys/devices/pci0/numa_node", "1\n");
    tree.write("sys/devices/system/node/node1/cpulist", "2-3\n");
    well(nic(&tree, &["eth0"]));
    assert_eq!(tree.read("proc/irq/42/smp_affinity_list"), "2");
    assert_eq!(tree.read("proc/irq/43/smp_affinity_list"), "3");
    assert_eq!(tree.read("sys/class/net/eth0/queues/tx-0/xps_cpus"), "5");
}

#[test]
fn json() {
    let tree = tree("json", 2);
    tree.virtio("eth0", 2);
    tree.write("proc/77/comm", "irqbalance\n");
    let json = |args: &[&str]| -> Value {
        let output = nic(&tree, args);
        assert!(output.stderr.is_empty());
        serde_json::from_str(&well(output)).expect("JSON")
    };

    let plan = json(&["eth0", "--json", "--dry-run"]);
    assert_eq!(
        (&plan["device"], &plan["outcome"]),
        (&"eth0".into(), &"planned".into())
    );
    assert_eq!(
        (&plan["queues"], &plan["cpus"]),
        (&2.into(), &serde_json::json!([0, 1]))
    );
    let expected = serde_json::json!({
        "command": "echo 1 > /sys/class/net/eth0/queues/tx-0/xps_cpus",
        "mask": { "path": "/sys/class/net/eth0/queues/tx-0/xps_cpus", "cpus": "1" },
    });
    assert_eq!(plan["changes"][0], expected);
    let note = plan["notes"][0].as_str().expect("a note");
    assert!(
        note.contains("irqbalance") && note.contains("--banirq=44"),
        "{note}"
    );

    let done = json(&["eth0", "--json"]);
    assert_eq!(done["outcome"], "done");
    assert_eq!(done["changes"], plan["changes"]);
    let undone = json(&["eth0", "--json", "--undo"]);
    assert_eq!(undone["outcome"], "undone");
    assert_eq!(undone["changes"].as_array().map(Vec::len), Some(6));
}

#[test]
fn irqbalance_is_a_notice() {
    let tree = tree("irqbalance", 2);
    tree.virtio("eth0", 1);
    tree.write("proc/77/comm", "irqbalance\n");
    let output = nic(&tree, &["eth0"]);
    assert!(stderr(&output).contains("--banirq=41"));
    well(output);
}

#[test]
fn a_failure_half_way_is_undone() {
    let tree = tree("half-way", 4);
    tree.virtio("eth0", 2);
    tree.lock("proc/irq/43/smp_affinity_list");
    let before = tree.all();
    let said = refused(&nic(&tree, &["eth0"]));
    assert!(
        said.contains("/proc/irq/43/smp_affinity_list") && said.contains("is undone"),
        "{said}"
    );
    assert_eq!(tree.all(), before);
    assert!(!tree.root().join(STATE).exists());
}

#[test]
fn a_failure_after_a_first_run_goes_back_to_that() {
    let tree = tree("second", 4);
    tree.virtio("eth0", 2);
    let before = tree.all();
    well(nic(&tree, &["eth0"]));
    let (first, state) = (tree.all(), tree.read(STATE));
    tree.write("proc/irq/44/smp_affinity_list", "1\n");
    let value = tree.read("proc/irq/43/smp_affinity_list");
    tree.lock("proc/irq/43/smp_affinity_list");
    refused(&nic(&tree, &["eth0", "--cpus", "2,3"]));
    std::fs::remove_file(tree.root().join("proc/irq/43/smp_affinity_list")).expect("a link");
    tree.write("proc/irq/43/smp_affinity_list", &value);
    assert_eq!(tree.all(), first);
    assert_eq!(tree.read(STATE), state);
    well(nic(&tree, &["eth0", "--undo"]));
    assert_eq!(tree.all(), before);
}

#[test]
fn what_is_not_known_is_refused() {
    let tree = tree("others", 4);
    for name in ["lo", "br0", "bond0", "bond1", "vlan5"] {
        tree.device(name, 1);
    }
    tree.write("sys/class/net/lo/type", "772\n");
    tree.write("sys/class/net/br0/bridge/stp_state", "0\n");
    tree.write("sys/class/net/br0/lower_eth1/x", "");
    tree.write("sys/class/net/br0/lower_eth0/x", "");
    tree.write("sys/class/net/bond0/bonding/slaves", "\n");
    tree.write(
        "sys/class/net/vlan5/uevent",
        "DEVTYPE=vlan\nINTERFACE=vlan5\n",
    );
    tree.write("sys/class/net/vlan5/lower_eth0/x", "");
    tree.write("sys/class/net/bonding_masters", "bond0\n");
    tree.virtio("eth0", 2);
    tree.remove("proc/irq/43");
    tree.irq(43, "virtio0-7");

    let before = tree.all();
    for (name, said) in [
        ("lo", "lo is the loopback device"),
        ("br0", "br0 is a bridge: name what is below it: eth0 eth1"),
        ("bond0", "bond0 is a bond without a device below it"),
        ("vlan5", "vlan5 is a vlan: name what is below it: eth0"),
        ("eth0", "eth0 (driver virtio_net) is not known"),
        ("eth9", "there is no network device eth9"),
        ("bonding_masters", "no network device"),
        ("../net/lo", "no network device"),
        ("", "no network device"),
    ] {
        for more in [&[][..], &["--dry-run"], &["--json"]] {
            let args: Vec<_> = [name].iter().chain(more).copied().collect();
            let refused = refused(&nic(&tree, &args));
            assert!(refused.contains(said), "{refused}");
        }
    }
    tree.write("sys/class/net/eth0/flags", "0x1002\n");
    assert!(refused(&nic(&tree, &["eth0"])).contains("ip link set eth0 up"));
    assert_eq!(tree.read("sys/class/net/eth0/queues/rx-0/rps_cpus"), "0\n");
    tree.write("sys/class/net/eth0/flags", "0x1003");
    assert_eq!(tree.all(), before);
}

#[test]
fn what_cannot_be_had_is_refused() {
    let tree = tree("wishes", 2);
    tree.virtio("eth0", 2);
    let before = tree.all();
    for (args, said) in [
        (&["eth0", "--ntuple"][..], "cannot steer by rules"),
        (&["eth0", "--coalesce", "9"], "no time to set"),
        (&["eth0", "--cpus", "1-2"], "CPU 2 is not online"),
    ] {
        let refused = refused(&nic(&tree, args));
        assert!(refused.contains(said), "{refused}");
    }
    assert_eq!(tree.all(), before);
}

#[test]
fn what_was_kept_of_another_device_is_not_restored() {
    let tree = tree("another", 2);
    tree.virtio("eth0", 2);
    well(nic(&tree, &["eth0"]));
    tree.write("sys/class/net/eth0/ifindex", "8\n");
    for args in [&["eth0"][..], &["eth0", "--undo"]] {
        let refused = refused(&nic(&tree, args));
        assert!(
            refused.contains("/run/fastsocket/nic-eth0.json"),
            "{refused}"
        );
    }
}

/// What the second would take for what was there before is what the first has set.
#[test]
fn one_at_a_time() {
    let tree = tree("alone", 2);
    tree.virtio("eth0", 2);
    let before = tree.all();
    let root = tree.root().to_str().expect("text");
    let lock = tree.root().join("run/fastsocket/nic-eth0.lock");
    std::fs::create_dir_all(lock.parent().expect("a directory")).expect("it is made");
    let beside = |args: &[&str]| {
        let mut command = Command::new("flock");
        command.arg(&lock).arg(env!("CARGO_BIN_EXE_fastsocket"));
        command.args(["nic", "--root", root, "eth0"]).args(args);
        command.output().expect("it starts")
    };
    for args in [&[][..], &["--undo"]] {
        let refused = refused(&beside(args));
        assert!(refused.contains("another fastsocket nic eth0"), "{refused}");
    }
    well(beside(&["--dry-run"]));
    assert_eq!(tree.all(), before);

    well(nic(&tree, &["eth0"]));
    assert!(!lock.exists());
    well(nic(&tree, &["eth0", "--undo"]));
    assert!(!tree.root().join("run/fastsocket").exists());
}

#[test]
fn usage_errors() {
    for args in [
        &["nic"][..],
        &["nic", "eth0", "--cpus", "x"],
        &["nic", "eth0", "--undo", "--ntuple"],
    ] {
        let output = output(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty());
    }
}

#[test]
fn without_a_device_of_that_name() {
    let said = refused(&output(&["nic", "no-such-device"]));
    assert!(said.contains("no-such-device"), "{said}");
}
