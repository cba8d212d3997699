// SPDX-License-Identifier: GPL-2.0

//! What was there before the first change, in `/run`, where a reboot takes it away as well.

use super::host::Host;
use super::{Result, Setting};
use crate::sys;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

const DIRECTORY: &str = "/run/fastsocket";

fn cannot(what: &str, path: &str, error: &io::Error) -> String {
    let hint = match error.kind() {
        ErrorKind::PermissionDenied => ": it is root's to do",
        _ => "",
    };
    format!("cannot {what} {path}: {error}{hint}")
}

/// Keeps other runs away from a device until it is dropped, by a file that nobody else may open, and that goes then.
pub(crate) struct Lock<'a> {
    host: &'a Host,
    _file: File,
}

impl<'a> Lock<'a> {
    fn path(host: &Host) -> String {
        format!("{DIRECTORY}/nic-{}.lock", host.device())
    }

    /// An error if another run is at work.
    pub(crate) fn new(host: &'a Host) -> Result<Self> {
        loop {
            match Self::locked(host) {
                Ok(Some(file)) => return Ok(Self { host, _file: file }),
                // Who was through with it took the file away, or the directory.
                Ok(None) => (),
                Err(error) if error.kind() == ErrorKind::NotFound => (),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Err(format!(
                        "another fastsocket nic {} is at work",
                        host.device()
                    ))
                }
                Err(error) => return Err(cannot("write", &Self::path(host), &error)),
            }
        }
    }

    /// The file, if it is there when it is locked.
    fn locked(host: &Host) -> io::Result<Option<File>> {
        let path = host.path(&Self::path(host));
        fs::create_dir_all(host.path(DIRECTORY))?;
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(&path)?;
        sys::lock(file.as_fd())?;
        let is_there = fs::metadata(&path)?.ino() == file.metadata()?.ino();
        Ok(is_there.then_some(file))
    }
}

impl Drop for Lock<'_> {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.host.path(&Self::path(self.host)));
        let _ = fs::remove_dir(self.host.path(DIRECTORY));
    }
}

/// What is written to the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    /// Which device of that name it is: its number, and the network namespace.
    index: Option<u32>,
    namespace: String,
    pub(crate) settings: Vec<Setting>,
}

impl State {
    /// Of which nothing is known yet.
    pub(crate) fn new(host: &Host) -> Self {
        let namespace = fs::read_link(host.path("/proc/self/ns/net")).unwrap_or_default();
        Self {
            index: host.index(),
            namespace: namespace.to_string_lossy().into_owned(),
            settings: Vec::new(),
        }
    }

    fn path(host: &Host) -> String {
        format!("{DIRECTORY}/nic-{}.json", host.device())
    }

    /// What an earlier run has left; an error if it was about another device.
    pub(crate) fn load(host: &Host) -> Result<Option<Self>> {
        let path = Self::path(host);
        let text = match fs::read_to_string(host.path(&path)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            text => text.map_err(|error| format!("cannot read {path}: {error}"))?,
        };
        let state: Self =
            serde_json::from_str(&text).map_err(|error| format!("cannot read {path}: {error}"))?;
        let new = Self::new(host);
        if (state.index, &state.namespace) != (new.index, &new.namespace) {
            let device = host.device();
            return Err(format!(
                "{path} is about another {device}: if that is gone, remove the file"
            ));
        }
        Ok(Some(state))
    }

    /// Adds what is not known yet. The queues are those of the first run: others have come by it, and go
    /// again.
    pub(crate) fn add(&mut self, settings: &[Setting]) {
        let first = self.settings.is_empty();
        for setting in settings {
            let known = match setting {
                Setting::Mask { .. } | Setting::Irq { .. } => !first,
                _ => self.settings.iter().any(|known| known.is_of(setting)),
            };
            if !known {
                self.settings.push(setting.clone());
            }
        }
    }

    /// The locations of the rules that were made.
    pub(crate) fn rules(&self) -> Vec<u32> {
        let made = |setting: &Setting| match setting {
            Setting::Rule {
                location,
                rule: None,
            } => Some(*location),
            _ => None,
        };
        self.settings.iter().filter_map(made).collect()
    }

    /// Writes it whole or not at all.
    pub(crate) fn save(&self, host: &Host) -> Result<()> {
        let path = Self::path(host);
        let write = || {
            fs::create_dir_all(host.path(DIRECTORY))?;
            let new = host.path(&format!("{path}.new"));
            fs::write(&new, serde_json::to_string_pretty(self)? + "\n")?;
            fs::rename(&new, host.path(&path))
        };
        write().map_err(|error: io::Error| cannot("write", &path, &error))
    }

    /// Removes the file.
    pub(crate) fn remove(host: &Host) -> Result<()> {
        let path = Self::path(host);
        fs::remove_file(host.path(&path)).map_err(|error| cannot("remove", &path, &error))
    }
}
