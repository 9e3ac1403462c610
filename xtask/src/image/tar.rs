//! Tar archives in the ustar format, as values: entries in, bytes out, the same bytes every time.

/// The size of a block; headers and contents are padded to it.
const BLOCK: usize = 512;

/// An archive that is being written.
#[derive(Debug, Default)]
pub struct Archive(Vec<u8>);

impl Archive {
    /// Adds a folder with its mode.
    pub fn folder(&mut self, path: &str, mode: u32) {
        self.header(path, mode, 0, b'5', "");
    }

    /// Adds a file.
    pub fn file(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.header(path, mode, content.len(), b'0', "");
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(BLOCK), 0);
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, path: &str, target: &str) {
        self.header(path, 0o777, 0, b'2', target);
    }

    /// Closes the archive: two empty blocks.
    pub fn finish(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 2 * BLOCK, 0);
        self.0
    }

    /// Everything belongs to root and is as old as time: only what is inside tells archives apart.
    fn header(&mut self, path: &str, mode: u32, size: usize, kind: u8, target: &str) {
        let mut header = [0_u8; BLOCK];
        let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
        put(0, path);
        put(100, &format!("{mode:07o}"));
        put(108, "0000000");
        put(116, "0000000");
        put(124, &format!("{size:011o}"));
        put(136, "00000000000");
        // The checksum counts its own field as spaces.
        put(148, "        ");
        put(157, target);
        put(257, "ustar\x0000");
        header[156] = kind;
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0.extend_from_slice(&header);
    }
}

#[cfg(test)]
mod checks {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn tar_reads_it() {
        let mut archive = Archive::default();
        archive.folder("bin/", 0o755);
        archive.file("bin/tool", 0o755, &[7; 700]);
        archive.link("bin/alias", "tool");
        let mut tar = Command::new("tar")
            .args(["-tvf", "-", "--utc"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        tar.stdin.take().unwrap().write_all(&archive.finish()).unwrap();
        let listing = String::from_utf8(tar.wait_with_output().unwrap().stdout).unwrap();
        let lines: Vec<&str> = listing.lines().collect();
        assert_eq!(
            lines,
            [
                "drwxr-xr-x 0/0               0 1970-01-01 00:00 bin/",
                "-rwxr-xr-x 0/0             700 1970-01-01 00:00 bin/tool",
                "lrwxrwxrwx 0/0               0 1970-01-01 00:00 bin/alias -> tool",
            ]
        );
    }
}
