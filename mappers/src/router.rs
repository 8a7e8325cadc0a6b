//! Hybrid routing: small requests to the overlay, large ones to the base. Owns that one decision.

/// Where one request is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Bytes go to the overlay (a Tier 0 segment or a store) and reach the base by a later flush.
    Overlay,
    /// Bytes go to the base, the file in its home, at their own offset.
    Base,
}

/// Hybrid routing: requests shorter than `threshold` bytes go to the overlay, the others to the base.
///
/// This is the one visible decision between small and large requests (ICS 2018, "hybrid mode").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Router {
    /// Requests of this many bytes and more go to the base. 0 sends everything to the base.
    pub threshold: u64,
}

impl Router {
    /// Decides for one write of `len` bytes.
    #[inline]
    pub fn place(self, len: u64) -> Place {
        if len < self.threshold { Place::Overlay } else { Place::Base }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_threshold_itself_goes_to_the_base() {
        let router = Router { threshold: 64 * 1024 };
        assert_eq!(router.place(0), Place::Overlay);
        assert_eq!(router.place(64 * 1024 - 1), Place::Overlay);
        assert_eq!(router.place(64 * 1024), Place::Base);
    }

    #[test]
    fn a_threshold_of_zero_stages_nothing() {
        assert_eq!(Router { threshold: 0 }.place(0), Place::Base);
    }
}
