//! Going on after damage: a segment rewritten with all that can still be read.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::format::{FRAME_LEN, Frame, HEADER_LEN};
use super::reader::{Dictionary, Segment, rewrite_frame};
use super::{LogError, io};

/// What [`salvage`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Salvaged {
    /// Where the damaged file was moved.
    pub original: PathBuf,
    /// Shares kept.
    pub kept: u64,
    /// Shares that are known to be lost, from the gaps in the numbering (more may be, at the end).
    pub lost: u64,
}

/// Rewrites a damaged segment with the shares that can still be read, before and behind the damage, and keeps the
/// original beside it with `.damaged` at its end. Run it while no pool is running. Shares behind the damage whose
/// names were lost in it are lost too: they could be credited to nobody.
pub fn salvage(path: &Path) -> Result<Salvaged, LogError> {
    let bytes = fs::read(path).map_err(io("read", path))?;
    let header = Segment::read_header(path)?.ok_or_else(|| LogError::Header { path: path.into() })?;
    let mut out = bytes[..HEADER_LEN].to_vec();
    let mut dictionary = Dictionary::default();
    let (mut kept, mut lost, mut next, mut at) = (0, 0, header.first_sequence, HEADER_LEN);
    while at < bytes.len() {
        let Some(frame) = Frame::open(&bytes[at..]) else {
            at += 1;
            continue;
        };
        lost += frame.sequence.saturating_sub(next);
        let mut rewritten = vec![0; FRAME_LEN];
        let (readable, all) = rewrite_frame(&frame, &mut dictionary, &mut rewritten);
        Frame::seal(&mut rewritten, frame.synced.min(out.len() as u32), frame.sequence);
        out.extend_from_slice(&rewritten);
        (kept, lost, next) = (kept + readable, lost + all - readable, frame.sequence + all);
        at += frame.len();
    }
    let original = path.with_extension("shares.damaged");
    let new = path.with_extension("shares.new");
    let mut file = File::create(&new).map_err(io("create", &new))?;
    file.write_all(&out).and_then(|()| file.sync_all()).map_err(io("write to", &new))?;
    fs::rename(path, &original).map_err(io("rename", path))?;
    fs::rename(&new, path).map_err(io("rename", &new))?;
    Ok(Salvaged { original, kept, lost })
}
