//! The targets of programs, and their names in the formats of a release.

use rattler_conda_types::Subdir;

use crate::Result;

/// A target of the release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// The name in files of the release.
    pub(crate) name: &'static str,
    /// The target of Rust whose dependencies are in the program.
    pub(crate) triple: &'static str,
    /// The subdir of channels.
    pub(crate) subdir: Subdir,
    /// The processor in the header of the program.
    machine: Machine,
}

/// A processor, as the headers of programs have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Machine {
    /// `e_machine` of ELF.
    Elf(u16),
    /// `cputype` of Mach-O.
    MachO(u32),
}

const TARGETS: [Target; 4] = [
    Target {
        name: "x86_64-linux",
        triple: "x86_64-unknown-linux-gnu",
        subdir: Subdir::Linux64,
        machine: Machine::Elf(62),
    },
    Target {
        name: "aarch64-linux",
        triple: "aarch64-unknown-linux-gnu",
        subdir: Subdir::LinuxAarch64,
        machine: Machine::Elf(183),
    },
    Target {
        name: "x86_64-macos",
        triple: "x86_64-apple-darwin",
        subdir: Subdir::Osx64,
        machine: Machine::MachO(0x0100_0007),
    },
    Target {
        name: "aarch64-macos",
        triple: "aarch64-apple-darwin",
        subdir: Subdir::OsxArm64,
        machine: Machine::MachO(0x0100_000c),
    },
];

/// A version of macOS: major and minor.
pub(crate) type MacVersion = (u32, u32);

impl Target {
    pub(crate) fn named(name: &str) -> Result<Self> {
        let known = || TARGETS.map(|target| target.name).join(", ");
        let found = TARGETS.into_iter().find(|target| target.name == name);
        Ok(found.ok_or_else(|| format!("there is no target `{name}`; there are {}", known()))?)
    }

    pub(crate) fn is_linux(self) -> bool {
        matches!(self.machine, Machine::Elf(_))
    }

    /// The processor in the name.
    pub(crate) fn processor(self) -> &'static str {
        self.name.split('-').next().unwrap_or_default()
    }

    /// Checks that a program is for this target. For macOS, it returns the oldest version in the program's header.
    pub(crate) fn check(self, program: &[u8]) -> Result<Option<MacVersion>> {
        match self.machine {
            Machine::Elf(machine) => {
                if !program.starts_with(b"\x7fELF\x02\x01")
                    || number::<2>(program, 18).map(u16::from_le_bytes) != Some(machine)
                {
                    return Err(format!("it is not a program for {}", self.name).into());
                }
                // A program that needs a dynamic loader names it (`PT_INTERP`).
                if program_headers(program).contains(&3) {
                    return Err("it is not static".into());
                }
                Ok(None)
            }
            Machine::MachO(cpu) => {
                if !program.starts_with(&0xfeed_facf_u32.to_le_bytes()) || word(program, 4) != Some(cpu) {
                    return Err(format!("it is not a program for {}", self.name).into());
                }
                Ok(Some(oldest_macos(program).ok_or("it does not say for which macOS it is made")?))
            }
        }
    }

    /// The tags of a wheel: all systems that the program runs on. A static program runs with any C library.
    pub(crate) fn wheel_tags(self, oldest: Option<MacVersion>) -> Vec<String> {
        let processor = self.processor();
        match oldest {
            None => {
                ["manylinux_2_17", "manylinux2014", "musllinux_1_1"].map(|tag| format!("{tag}_{processor}")).to_vec()
            }
            Some((major, minor)) => {
                let processor = if processor == "aarch64" { "arm64" } else { processor };
                vec![format!("macosx_{major}_{minor}_{processor}")]
            }
        }
    }
}

/// The types of the program headers of a 64-bit little-endian ELF file.
fn program_headers(program: &[u8]) -> Vec<u32> {
    let offset = number::<8>(program, 32).map_or(0, u64::from_le_bytes);
    let [size, count] = [54, 56].map(|at| number::<2>(program, at).map_or(0, u16::from_le_bytes));
    let at = |index: u16| usize::try_from(offset + u64::from(size) * u64::from(index)).unwrap_or(usize::MAX);
    (0..count).filter_map(|index| word(program, at(index))).collect()
}

/// The oldest macOS in the load commands of a Mach-O file (`LC_BUILD_VERSION`, or `LC_VERSION_MIN_MACOSX`).
fn oldest_macos(program: &[u8]) -> Option<MacVersion> {
    let mut at = 32;
    for _ in 0..word(program, 16)? {
        let (command, size) = (word(program, at)?, word(program, at + 4)?);
        let version = match command {
            0x32 => word(program, at + 12)?,
            0x24 => word(program, at + 8)?,
            _ => {
                at += usize::try_from(size).ok()?.max(8);
                continue;
            }
        };
        return Some((version >> 16, (version >> 8) & 0xff));
    }
    None
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    number::<4>(bytes, at).map(u32::from_le_bytes)
}

fn number<const SIZE: usize>(bytes: &[u8], at: usize) -> Option<[u8; SIZE]> {
    bytes.get(at..at.checked_add(SIZE)?)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The beginning of an ELF file with one program header.
    fn elf(machine: u16, header: u32) -> Vec<u8> {
        let mut program = vec![0; 128];
        program[..6].copy_from_slice(b"\x7fELF\x02\x01");
        program[18..20].copy_from_slice(&machine.to_le_bytes());
        program[32..40].copy_from_slice(&64_u64.to_le_bytes());
        program[54..58].copy_from_slice(&[56, 0, 1, 0]);
        program[64..68].copy_from_slice(&header.to_le_bytes());
        program
    }

    fn mach_o(cpu: u32, commands: &[&[u32]]) -> Vec<u8> {
        let mut words = vec![0xfeed_facf, cpu, 0, 2, commands.len() as u32, 0, 0, 0];
        commands.iter().for_each(|command| words.extend_from_slice(command));
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    #[test]
    fn a_program_for_another_machine_is_refused() {
        let target = Target::named("x86_64-linux").unwrap();
        assert_eq!(target.check(&elf(62, 1)).unwrap(), None);
        for (program, reason) in [
            (elf(183, 1), "it is not a program for x86_64-linux"),
            (elf(62, 3), "it is not static"),
            (b"#!/bin/sh".to_vec(), "it is not a program for x86_64-linux"),
            (Vec::new(), "it is not a program for x86_64-linux"),
        ] {
            assert_eq!(target.check(&program).unwrap_err().to_string(), reason);
        }
        assert!(Target::named("riscv64-linux").unwrap_err().to_string().contains("aarch64-macos"));
    }

    #[test]
    fn a_wheel_for_macos_asks_for_the_version_in_the_program() {
        let target = Target::named("aarch64-macos").unwrap();
        let other = [0x19, 16, 0, 0];
        let program = mach_o(0x0100_000c, &[&other, &[0x32, 24, 1, 11 << 16, 14 << 16, 0]]);
        let oldest = target.check(&program).unwrap();
        assert_eq!(target.wheel_tags(oldest), ["macosx_11_0_arm64"]);
        let target = Target::named("x86_64-macos").unwrap();
        let oldest = target.check(&mach_o(0x0100_0007, &[&[0x24, 16, (10 << 16) | (12 << 8), 0]])).unwrap();
        assert_eq!(target.wheel_tags(oldest), ["macosx_10_12_x86_64"]);
        // Load commands without an end.
        assert!(target.check(&mach_o(0x0100_0007, &[&[1, 0], &[1, 0]])).is_err());
        assert!(target.check(&mach_o(0x0100_0007, &[&other])[..40]).is_err());
    }

    #[test]
    fn a_wheel_for_linux_fits_both_c_libraries() {
        let tags = Target::named("aarch64-linux").unwrap().wheel_tags(None);
        assert_eq!(tags, ["manylinux_2_17_aarch64", "manylinux2014_aarch64", "musllinux_1_1_aarch64"]);
    }
}
