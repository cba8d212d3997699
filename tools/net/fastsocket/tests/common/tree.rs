// SPDX-License-Identifier: GPL-2.0

//! A `/sys` and a `/proc` of files, with network devices as tests want them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// It goes when this is dropped.
pub(crate) struct Tree(PathBuf);

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Tree {
    /// A machine with CPUs 0 to `cpus` - 1, in a directory of the test's own.
    pub(crate) fn new(place: &Path, name: &str, cpus: u32) -> Self {
        let tree = Self(place.join(format!("{name}-{}", std::process::id())));
        let _ = fs::remove_dir_all(&tree.0);
        for file in ["online", "possible"] {
            let cpus = format!("0-{}\n", cpus - 1);
            tree.write(&format!("sys/devices/system/cpu/{file}"), &cpus);
        }
        tree
    }

    pub(crate) fn root(&self) -> &Path {
        &self.0
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().expect("it is below the root")).expect("a directory");
        fs::write(path, text).expect("a file");
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.0.join(path)).expect("a file")
    }

    pub(crate) fn remove(&self, path: &str) {
        fs::remove_dir_all(self.0.join(path)).expect("it was there");
    }

    /// A file that can be read, and not be written, by root either.
    pub(crate) fn lock(&self, path: &str) {
        fs::remove_file(self.0.join(path)).expect("it was there");
        symlink("/proc/sys/kernel/ostype", self.0.join(path)).expect("a link");
    }

    /// A device that is none of hardware, with so many queues that receive, and one that sends.
    pub(crate) fn device(&self, name: &str, queues: usize) {
        let device = format!("sys/class/net/{name}");
        for (file, text) in [("ifindex", "7"), ("type", "1"), ("flags", "0x1003")] {
            self.write(&format!("{device}/{file}"), text);
        }
        self.write(&format!("{device}/uevent"), "INTERFACE=eth0\nIFINDEX=7\n");
        for queue in 0..queues {
            self.write(&format!("{device}/queues/rx-{queue}/rps_cpus"), "0\n");
        }
        self.write(&format!("{device}/queues/tx-0/traffic_class"), "");
    }

    /// A virtio card with so many queues, IRQs from 40 on, one for the card itself, and 1 that is another's.
    pub(crate) fn virtio(&self, name: &str, queues: usize) {
        self.device(name, queues);
        self.write("sys/devices/pci0/virtio0/uevent", "");
        let device = format!("sys/class/net/{name}/device");
        symlink("../../../devices/pci0/virtio0", self.0.join(device)).expect("a link");
        symlink(
            "/drivers/virtio_net",
            self.0.join("sys/devices/pci0/virtio0/driver"),
        )
        .expect("a link");
        let queue = |queue| {
            [
                format!("virtio0-input.{queue}"),
                format!("virtio0-output.{queue}"),
            ]
        };
        let names = ["virtio0-config".to_owned()]
            .into_iter()
            .chain((0..queues).flat_map(queue));
        for (number, irq) in (40..).zip(names) {
            self.irq(number, &irq);
        }
        self.write("proc/irq/1/i8042/x", "");
        for queue in 0..queues {
            self.write(
                &format!("sys/class/net/{name}/queues/tx-{queue}/xps_cpus"),
                "0\n",
            );
        }
    }

    pub(crate) fn irq(&self, number: u32, name: &str) {
        self.write(&format!("sys/devices/pci0/msi_irqs/{number}"), "msix\n");
        self.write(&format!("proc/irq/{number}/smp_affinity_list"), "0-3\n");
        fs::create_dir_all(self.0.join(format!("proc/irq/{number}/{name}"))).expect("a directory");
    }

    /// What is in all files, but those in `/run`.
    pub(crate) fn all(&self) -> BTreeMap<PathBuf, String> {
        let mut all = BTreeMap::new();
        for top in ["sys", "proc"] {
            collect(&self.0.join(top), &mut all);
        }
        all
    }
}

fn collect(directory: &Path, all: &mut BTreeMap<PathBuf, String>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let kind = entry.file_type().expect("a type");
        if kind.is_dir() {
            collect(&entry.path(), all);
        } else if kind.is_file() {
            let text = fs::read_to_string(entry.path()).expect("a file");
            all.insert(entry.path(), text.trim().to_owned());
        }
    }
}
