//! A script read one instruction at a time.

use crate::opcode::{MAX_OPCODE, OP_PUSHDATA1, OP_PUSHDATA2, OP_PUSHDATA4};
use crate::{MAX_ITEM_SIZE, ScriptError};

/// One opcode, with the bytes it pushes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction<'a> {
    /// The opcode.
    pub opcode: u8,
    /// What a push (opcode up to `OP_PUSHDATA4`) pushes; else empty.
    pub data: &'a [u8],
}

impl Instruction<'_> {
    /// True where the opcode pushes `data` from the script (`OP_0` and up to `OP_PUSHDATA4`).
    pub const fn is_data_push(&self) -> bool {
        self.opcode <= OP_PUSHDATA4
    }

    /// True where no shorter opcode could push the same (only for data pushes).
    pub fn is_minimal_push(&self) -> bool {
        match self.data {
            [] => self.opcode == 0,
            [1..=16] | [0x81] => false,
            data => match data.len() {
                len @ ..=75 => usize::from(self.opcode) == len,
                76..=255 => self.opcode == OP_PUSHDATA1,
                256..=65_535 => self.opcode == OP_PUSHDATA2,
                _ => true,
            },
        }
    }
}

/// The instructions of a script in order; ends after the first that runs out of bytes, which comes as an error.
#[derive(Clone, Debug)]
pub struct Instructions<'a> {
    script: &'a [u8],
    at: usize,
    failed: bool,
}

impl<'a> Instructions<'a> {
    /// Reads `script` from its start.
    pub const fn new(script: &'a [u8]) -> Self {
        Self { script, at: 0, failed: false }
    }

    /// Bytes read so far: where the next instruction starts.
    pub const fn position(&self) -> usize {
        self.at
    }

    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let bytes = self.script.get(self.at..self.at.checked_add(n)?)?;
        self.at += n;
        Some(bytes)
    }

    fn read(&mut self) -> Option<Instruction<'a>> {
        let opcode = self.take(1)?[0];
        let size = match opcode {
            ..OP_PUSHDATA1 => usize::from(opcode),
            OP_PUSHDATA1 => usize::from(self.take(1)?[0]),
            OP_PUSHDATA2 => self.take(2).map(|b| usize::from(u16::from_le_bytes([b[0], b[1]])))?,
            OP_PUSHDATA4 => self
                .take(4)
                .and_then(|b| usize::try_from(u32::from_le_bytes([b[0], b[1], b[2], b[3]])).ok())?,
            _ => 0,
        };
        Some(Instruction { opcode, data: self.take(size)? })
    }
}

impl<'a> Iterator for Instructions<'a> {
    type Item = Result<Instruction<'a>, ScriptError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.at >= self.script.len() {
            return None;
        }
        let instruction = self.read();
        self.failed = instruction.is_none();
        Some(instruction.ok_or(ScriptError::BadOpcode))
    }
}

/// True where every instruction is complete, known, and pushes no more than a stack item may hold.
pub fn has_valid_ops(script: &[u8]) -> bool {
    Instructions::new(script)
        .all(|op| op.is_ok_and(|op| op.opcode <= MAX_OPCODE && op.data.len() <= MAX_ITEM_SIZE))
}
