//! Stop strings: where the text of an answer ends.
//!
//! Text that may turn out to be the start of a stop string is held back until it is decided, so
//! nothing is given out that the caller asked to be cut off.

use crate::error::PreprocessError;

/// Most stop strings of one request.
pub const STOP_STRINGS_MAX: usize = 4;
/// Most bytes of a stop string.
pub const STOP_STRING_BYTES_MAX: usize = 256;

/// Watches a stream of text for stop strings.
#[derive(Clone, Debug)]
pub struct StopMatcher {
    stops: Vec<String>,
    held: String,
}

/// What may be given out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matched {
    /// Text before any stop string.
    pub text: String,
    /// Which stop string was met; the answer ends here.
    pub stop: Option<usize>,
}

impl StopMatcher {
    /// A matcher for up to [`STOP_STRINGS_MAX`] strings.
    ///
    /// # Errors
    /// Too many strings, or one that is empty or above [`STOP_STRING_BYTES_MAX`] bytes.
    pub fn new(stops: Vec<String>) -> Result<Self, PreprocessError> {
        let legal = |stop: &String| (1..=STOP_STRING_BYTES_MAX).contains(&stop.len());
        if stops.len() > STOP_STRINGS_MAX || !stops.iter().all(legal) {
            return Err(PreprocessError::StopStrings);
        }
        Ok(Self { stops, held: String::new() })
    }

    /// Takes the next piece. Of several stop strings the one that starts first counts, of those
    /// that start together the first given. Nothing may be pushed after a match.
    pub fn push(&mut self, piece: &str) -> Matched {
        self.held.push_str(piece);
        let found = self.stops.iter().enumerate();
        let found = found.filter_map(|(index, stop)| Some((self.held.find(stop)?, index))).min();
        if let Some((at, index)) = found {
            // A stop string that starts earlier may still be completed by what comes.
            if self.open_from().is_none_or(|open| open >= at) {
                self.held.truncate(at);
                return Matched { text: std::mem::take(&mut self.held), stop: Some(index) };
            }
        }
        let keep = self.open_from().unwrap_or(self.held.len());
        let rest = self.held.split_off(keep);
        Matched { text: std::mem::replace(&mut self.held, rest), stop: None }
    }

    /// What was held back, when no more text comes.
    pub fn finish(self) -> Matched {
        let found = self.stops.iter().enumerate();
        let found = found.filter_map(|(index, stop)| Some((self.held.find(stop)?, index))).min();
        match found {
            Some((at, index)) => Matched { text: self.held[..at].to_owned(), stop: Some(index) },
            None => Matched { text: self.held, stop: None },
        }
    }

    /// Where the earliest proper start of a stop string begins that runs to the end of the text.
    fn open_from(&self) -> Option<usize> {
        let starts = self.held.char_indices().map(|(at, _)| at);
        starts.into_iter().find(|at| {
            let tail = &self.held[*at..];
            self.stops.iter().any(|stop| tail.len() < stop.len() && stop.starts_with(tail))
        })
    }
}
