//! Which rules are in force: consensus rules that came by soft fork, and policy on top of them.

use std::ops::{BitAnd, BitOr, BitOrAssign, Not};

/// A set of verification rules, named as the reference client's `SCRIPT_VERIFY_*`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Flags(u32);

macro_rules! flags {
    ($($(#[$doc:meta])* $name:ident = $bit:literal;)*) => {
        impl Flags {
            $($(#[$doc])* pub const $name: Self = Self(1 << $bit);)*

            /// Every single flag with its name.
            pub const NAMES: &'static [(&'static str, Self)] = &[$((stringify!($name), Self::$name)),*];
        }
    };
}

flags! {
    /// BIP16: the last push of the input's script is the script that is paid to.
    P2SH = 0;
    /// Policy: signatures are strict DER with a known hash type, keys are compressed or uncompressed.
    STRICTENC = 1;
    /// BIP66: signatures are strict DER.
    DERSIG = 2;
    /// Policy (BIP62): S is at most half the curve's order.
    LOW_S = 3;
    /// BIP147: the extra item of `OP_CHECKMULTISIG` is empty.
    NULLDUMMY = 4;
    /// The input's script only pushes.
    SIGPUSHONLY = 5;
    /// Policy (BIP62): pushes and numbers are in their shortest form.
    MINIMALDATA = 6;
    /// Policy: no-operations kept for later rules are not used.
    DISCOURAGE_UPGRADABLE_NOPS = 7;
    /// Policy (BIP62): exactly one item is left on the stack. Needs `P2SH` and `WITNESS`.
    CLEANSTACK = 8;
    /// BIP65.
    CHECKLOCKTIMEVERIFY = 9;
    /// BIP112.
    CHECKSEQUENCEVERIFY = 10;
    /// BIP141, with BIP143's signature hashes. Needs `P2SH`.
    WITNESS = 11;
    /// Policy: witness versions kept for later are not spent.
    DISCOURAGE_UPGRADABLE_WITNESS_PROGRAM = 12;
    /// Policy: the condition of `OP_IF` in a witness script is empty or exactly 1.
    MINIMALIF = 13;
    /// Policy (BIP146): a signature that fails is empty.
    NULLFAIL = 14;
    /// Policy: keys in witness scripts are compressed.
    WITNESS_PUBKEYTYPE = 15;
    /// Policy: no `OP_CODESEPARATOR` and nothing for FindAndDelete to find outside witnesses.
    CONST_SCRIPTCODE = 16;
    /// BIP341 and 342.
    TAPROOT = 17;
    /// Policy: leaf versions kept for later are not used.
    DISCOURAGE_UPGRADABLE_TAPROOT_VERSION = 18;
    /// Policy: opcodes kept for later are not used in tapscript.
    DISCOURAGE_OP_SUCCESS = 19;
    /// Policy: key types kept for later are not used in tapscript.
    DISCOURAGE_UPGRADABLE_PUBKEYTYPE = 20;
}

impl Flags {
    /// No rule beyond the first release's.
    pub const NONE: Self = Self(0);

    /// Every soft fork's rules: what any transaction for the mempool must keep to.
    pub const MANDATORY: Self = Self(
        Self::P2SH.0
            | Self::DERSIG.0
            | Self::NULLDUMMY.0
            | Self::CHECKLOCKTIMEVERIFY.0
            | Self::CHECKSEQUENCEVERIFY.0
            | Self::WITNESS.0
            | Self::TAPROOT.0,
    );

    /// [`Flags::MANDATORY`] and the policy a standard transaction keeps to.
    pub const STANDARD: Self = Self(
        Self::MANDATORY.0
            | Self::STRICTENC.0
            | Self::MINIMALDATA.0
            | Self::DISCOURAGE_UPGRADABLE_NOPS.0
            | Self::CLEANSTACK.0
            | Self::MINIMALIF.0
            | Self::NULLFAIL.0
            | Self::LOW_S.0
            | Self::DISCOURAGE_UPGRADABLE_WITNESS_PROGRAM.0
            | Self::WITNESS_PUBKEYTYPE.0
            | Self::CONST_SCRIPTCODE.0
            | Self::DISCOURAGE_UPGRADABLE_TAPROOT_VERSION.0
            | Self::DISCOURAGE_OP_SUCCESS.0
            | Self::DISCOURAGE_UPGRADABLE_PUBKEYTYPE.0,
    );

    /// True where every rule of `other` is in force.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// True where any rule of `other` is in force.
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// The set without `other`.
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The flag of a name such as `P2SH`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, flag)| *flag)
    }

    /// The set as bits; for use as part of a cache's key.
    pub const fn bits(self) -> u32 {
        self.0
    }
}

impl BitOr for Flags {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Flags {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl BitAnd for Flags {
    type Output = Self;
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl Not for Flags {
    type Output = Self;
    fn not(self) -> Self {
        let all = Self::NAMES.iter().fold(0, |bits, (_, flag)| bits | flag.0);
        Self(all & !self.0)
    }
}

impl std::fmt::Debug for Flags {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> =
            Self::NAMES.iter().filter(|(_, flag)| self.contains(*flag)).map(|(name, _)| *name).collect();
        f.write_str(if names.is_empty() { "NONE" } else { "" })?;
        f.write_str(&names.join(","))
    }
}
