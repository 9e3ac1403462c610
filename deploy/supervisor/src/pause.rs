//! The image of the container that holds a pod's namespaces, made here so that a node needs no registry for it.

use anyhow::Context as _;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::token::hex;

/// The name of the image. Nobody else's can be taken for it.
pub(crate) const IMAGE: &str = "isopod.local/pause:1";

/// The architecture as images name it, its number in ELF (elf(5)) and the program for it.
struct Machine {
    rust: &'static str,
    image: &'static str,
    elf: u16,
    code: &'static [u8],
}

/// Programs that leave the children that others abandon to the kernel, and sleep: `rt_sigaction(SIGCHLD, SIG_IGN)`,
/// then `pause()` for ever. The 32 bytes at the end of each are the `struct sigaction`.
const MACHINES: &[Machine] = &[
    Machine {
        rust: "x86_64",
        image: "amd64",
        elf: 62,
        code: &[
            0xb8, 13, 0, 0, 0, // mov eax, rt_sigaction
            0xbf, 17, 0, 0, 0, // mov edi, SIGCHLD
            0x48, 0x8d, 0x35, 19, 0, 0, 0, // lea rsi, [rip + 19]: the struct
            0x31, 0xd2, // xor edx, edx
            0x41, 0xba, 8, 0, 0, 0, // mov r10d, 8: the size of a set of signals
            0x0f, 0x05, // syscall
            0xb8, 34, 0, 0, 0, // mov eax, pause
            0x0f, 0x05, // syscall
            0xeb, 0xf7, // jmp to the last mov
            1, 0, 0, 0, 0, 0, 0, 0, // SIG_IGN
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        ],
    },
    Machine {
        rust: "aarch64",
        image: "arm64",
        elf: 183,
        code: &[
            0xc8, 0x10, 0x80, 0xd2, // mov x8, rt_sigaction
            0x20, 0x02, 0x80, 0xd2, // mov x0, SIGCHLD
            0x61, 0x01, 0x00, 0x10, // adr x1, . + 44: the struct
            0x02, 0x00, 0x80, 0xd2, // mov x2, 0
            0x03, 0x01, 0x80, 0xd2, // mov x3, 8: the size of a set of signals
            0x01, 0x00, 0x00, 0xd4, // svc 0
            0x00, 0x00, 0x80, 0xd2, // mov x0, 0
            0x01, 0x00, 0x80, 0xd2, // mov x1, 0
            0x02, 0x00, 0x80, 0xd2, // mov x2, 0
            0x03, 0x00, 0x80, 0xd2, // mov x3, 0
            0x28, 0x09, 0x80, 0xd2, // mov x8, ppoll: of nothing, for ever
            0x01, 0x00, 0x00, 0xd4, // svc 0
            0xfa, 0xff, 0xff, 0x17, // b back to the mov of x0
            1, 0, 0, 0, 0, 0, 0, 0, // SIG_IGN
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        ],
    },
];

/// Where the program is loaded: an address that no kernel keeps for itself.
const ADDRESS: u64 = 0x40_0000;

/// The sizes of the header of an ELF file and of its one segment's, after which the code is.
const HEADERS: (u16, u16) = (64, 56);

/// The archive of the image for this machine, in the form that `docker save` writes; always the same bytes.
///
/// # Errors
/// Where there is no program for this machine.
pub(crate) fn archive() -> anyhow::Result<Vec<u8>> {
    let machine = MACHINES.iter().find(|machine| machine.rust == std::env::consts::ARCH);
    let machine = machine.context("there is no pause image for this machine; give --pause-image")?;
    let layer = tar(&[("pause", &program(machine), 0o755)]);
    let config = json!({
        "architecture": machine.image, "os": "linux", "config": {"Entrypoint": ["/pause"]},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", hex(&Sha256::digest(&layer)))]},
    });
    let manifest = json!([{"Config": "config.json", "RepoTags": [IMAGE], "Layers": ["layer.tar"]}]);
    Ok(tar(&[
        ("layer.tar", &layer, 0o644),
        ("config.json", config.to_string().as_bytes(), 0o644),
        ("manifest.json", manifest.to_string().as_bytes(), 0o644),
    ]))
}

/// The smallest executable that runs this code: two headers and the code.
fn program(machine: &Machine) -> Vec<u8> {
    let (header, segment) = HEADERS;
    let start = u64::from(header + segment);
    let size = start + machine.code.len() as u64;
    // Of 64 bits, little endian, of version 1, for no particular system.
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut put = |bytes: &[u8]| file.extend_from_slice(bytes);
    put(&2_u16.to_le_bytes()); // an executable
    put(&machine.elf.to_le_bytes());
    put(&1_u32.to_le_bytes());
    put(&(ADDRESS + start).to_le_bytes());
    put(&u64::from(header).to_le_bytes()); // where the segments' headers are
    put(&0_u64.to_le_bytes()); // no sections
    put(&0_u32.to_le_bytes());
    for number in [header, segment, 1, 0, 0, 0] {
        put(&number.to_le_bytes());
    }
    put(&1_u32.to_le_bytes()); // to be loaded
    put(&5_u32.to_le_bytes()); // to be read and executed
    for number in [0, ADDRESS, ADDRESS, size, size, 0x1000] {
        put(&number.to_le_bytes());
    }
    put(machine.code);
    file
}

/// An archive of files: name, content, mode. POSIX.1-1988 (ustar), without owners and times.
fn tar(files: &[(&str, &[u8], u32)]) -> Vec<u8> {
    /// Archives are made of blocks of so many bytes, and end with two empty ones.
    const BLOCK: usize = 512;
    let mut archive = Vec::new();
    for (name, content, mode) in files {
        let mut header = [0; BLOCK];
        let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
        put(0, name);
        put(100, &format!("{mode:07o}"));
        put(108, "0000000");
        put(116, "0000000");
        put(124, &format!("{:011o}", content.len()));
        put(136, "00000000000");
        // The sum is over a header with blanks in its place.
        put(148, "        ");
        put(156, "0");
        put(257, "ustar");
        put(263, "00");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        archive.extend_from_slice(&header);
        archive.extend_from_slice(content);
        archive.resize(archive.len().next_multiple_of(BLOCK), 0);
    }
    archive.resize(archive.len() + 2 * BLOCK, 0);
    archive
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::Command;

    use super::*;

    #[test]
    fn tar_reads_what_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.tar");
        std::fs::write(&file, archive().unwrap()).unwrap();
        let listed = Command::new("tar").arg("-tf").arg(&file).output().unwrap();
        assert_eq!(String::from_utf8(listed.stdout).unwrap(), "layer.tar\nconfig.json\nmanifest.json\n");
        assert!(listed.stderr.is_empty());
    }

    #[test]
    fn the_program_sleeps_until_it_is_asked_to_end() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pause");
        let machine = MACHINES.iter().find(|machine| machine.rust == std::env::consts::ARCH).unwrap();
        std::fs::write(&file, program(machine)).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut child = Command::new(&file).spawn().unwrap();
        let status = format!("/proc/{}/status", child.id());
        // Bit 16 of what is ignored is SIGCHLD: by then it has come as far as the pause.
        let ignores = |text: &str| {
            let ignored = text.lines().find_map(|line| line.strip_prefix("SigIgn:"));
            ignored.is_some_and(|hex| u64::from_str_radix(hex.trim(), 16).unwrap() >> 16 & 1 == 1)
        };
        while !ignores(&std::fs::read_to_string(&status).unwrap()) {
            assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
            std::thread::yield_now();
        }
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(15));
    }
}
