//! Why a request was refused, as miners read it.

/// Why a share or another request was refused. The codes are the ones all miners know; each has a text of its own,
/// which some firmware shows on its display.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reject {
    /// 20: the request makes no sense as written.
    Malformed,
    /// 20: the time is before the job's or too far after it.
    TimeOutOfRange,
    /// 20: version bits outside the negotiated mask.
    VersionBits,
    /// 20: the server cannot take it now (shutting down, books not writable).
    Unavailable,
    /// 20: method not known.
    UnknownMethod,
    /// 21: the job was never sent here or is gone.
    Stale,
    /// 22: the same share again.
    Duplicate,
    /// 23: the hash does not meet the share target.
    LowDifficulty,
    /// 23: a chain that half the multiplier would make longer, which no block may have.
    NotNormalized,
    /// 24: no such user name authorised here, or it is not an address of the coin.
    Unauthorized,
    /// 25: not subscribed yet.
    NotSubscribed,
}

impl Reject {
    /// All of them, in the order of [`Reject::index`].
    pub const ALL: [Self; 11] = [
        Self::Malformed,
        Self::TimeOutOfRange,
        Self::VersionBits,
        Self::Unavailable,
        Self::UnknownMethod,
        Self::Stale,
        Self::Duplicate,
        Self::LowDifficulty,
        Self::NotNormalized,
        Self::Unauthorized,
        Self::NotSubscribed,
    ];

    /// Place in [`Reject::ALL`], for tables of counters.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Stratum's error code.
    pub const fn code(self) -> u32 {
        match self {
            Self::Malformed
            | Self::TimeOutOfRange
            | Self::VersionBits
            | Self::Unavailable
            | Self::UnknownMethod => 20,
            Self::Stale => 21,
            Self::Duplicate => 22,
            Self::LowDifficulty | Self::NotNormalized => 23,
            Self::Unauthorized => 24,
            Self::NotSubscribed => 25,
        }
    }

    /// What the miner is told.
    pub const fn message(self) -> &'static str {
        match self {
            Self::Malformed => "Malformed request",
            Self::TimeOutOfRange => "Time out of range",
            Self::VersionBits => "Version bits outside the mask",
            Self::Unavailable => "Pool not ready",
            Self::UnknownMethod => "Method not found",
            Self::Stale => "Job not found (stale)",
            Self::Duplicate => "Duplicate share",
            Self::LowDifficulty => "Low difficulty share",
            Self::NotNormalized => "Multiplier not normalized: halve it",
            Self::Unauthorized => "Unauthorized worker",
            Self::NotSubscribed => "Not subscribed",
        }
    }

    /// Label for metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::TimeOutOfRange => "time",
            Self::VersionBits => "version_bits",
            Self::Unavailable => "unavailable",
            Self::UnknownMethod => "unknown_method",
            Self::Stale => "stale",
            Self::Duplicate => "duplicate",
            Self::LowDifficulty => "low_difficulty",
            Self::NotNormalized => "not_normalized",
            Self::Unauthorized => "unauthorized",
            Self::NotSubscribed => "not_subscribed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_are_places_in_the_table() {
        for (i, reject) in Reject::ALL.iter().enumerate() {
            assert_eq!(reject.index(), i);
        }
    }
}
