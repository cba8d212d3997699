// SPDX-License-Identifier: GPL-2.0

//! Sets of CPUs, as a list (`0-3,8`) and as a mask (`f`).

use std::str::FromStr;

/// The kernel has no more.
const MOST: u32 = 8192;

/// Numbers of CPUs, in the order in which they are used; none twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cpus(pub(crate) Vec<u32>);

impl FromStr for Cpus {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let strange = || format!("'{text}' is no list of CPUs such as 0-3,8");
        let mut cpus = Vec::new();
        for part in text.trim().split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let number = |text: &str| text.parse::<u32>().ok().filter(|cpu| *cpu < MOST);
            let (Some(first), Some(last)) = (number(first), number(last)) else {
                return Err(strange());
            };
            if first > last {
                return Err(strange());
            }
            cpus.extend(first..=last);
        }
        let mut once = cpus.clone();
        once.sort_unstable();
        once.dedup();
        match once.len() == cpus.len() {
            true => Ok(Self(cpus)),
            false => Err(format!("'{text}' has a CPU twice")),
        }
    }
}

/// As the kernel reads a mask: groups of 32 bits in hexadecimal, the highest first.
pub(crate) fn mask(cpus: &[u32]) -> String {
    let groups = cpus.iter().max().map_or(0, |cpu| cpu / 32) + 1;
    let group = |number: u32| {
        let own = cpus.iter().filter(|cpu| **cpu / 32 == number);
        own.fold(0_u32, |bits, cpu| bits | 1 << (cpu % 32))
    };
    let mut text = format!("{:x}", group(groups - 1));
    for number in (0..groups - 1).rev() {
        text += &format!(",{:08x}", group(number));
    }
    text
}

/// Do both masks have the same CPUs, however many zeros they begin with?
pub(crate) fn same_mask(one: &str, other: &str) -> bool {
    let digits = |mask: &str| mask.replace(',', "").trim_start_matches('0').to_owned();
    digits(one) == digits(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        for (text, cpus) in [
            ("0", vec![0]),
            ("0-3,8\n", vec![0, 1, 2, 3, 8]),
            ("8,0-1", vec![8, 0, 1]),
        ] {
            assert_eq!(text.parse(), Ok(Cpus(cpus)));
        }
        for text in ["", "a", "3-1", "1,,2", "1-", "-1", "0-99999", "0-2,1"] {
            let error = text.parse::<Cpus>().unwrap_err();
            assert!(error.starts_with(&format!("'{text}'")), "{error}");
        }
    }

    #[test]
    fn masks() {
        for (cpus, text) in [
            (&[][..], "0"),
            (&[0, 1, 2, 3], "f"),
            (&[31], "80000000"),
            (&[32, 0], "1,00000001"),
            (&[65], "2,00000000,00000000"),
        ] {
            assert_eq!(mask(cpus), text);
        }
        assert!(same_mask("0", "00000000,00000000"));
        assert!(same_mask("f", "00000000,0000000f"));
        assert!(!same_mask("f", "f,00000000"));
    }
}
