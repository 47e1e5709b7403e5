//! Chat templates: text before and after each message, by role.
//!
//! A template language could read the clock, loop for ever or differ between implementations. All
//! that the models served here need is a prefix and a suffix per role, so that is all there is; the
//! prompt is a pure function of the messages, and anybody can recompute it.

use borsh::{BorshDeserialize, BorshSerialize};
use units::{List, Text};

use crate::error::PreprocessError;
use crate::{MESSAGES_MAX, check_length};

/// Most bytes of one piece of markup.
pub const MARKUP_MAX: usize = 256;
/// Most bytes of a default system text.
pub const SYSTEM_MAX: usize = 8_192;
/// How many roles there are.
pub const ROLES_MAX: usize = 3;

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub enum Role {
    /// Instructions.
    System = 1,
    /// Who asks.
    User = 2,
    /// The model.
    Assistant = 3,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said, taken as it is.
    pub content: String,
}

/// Text around the messages of a role.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct RoleMarkup {
    /// Whose messages.
    pub role: Role,
    /// Before the content.
    pub prefix: Text<MARKUP_MAX>,
    /// After the content.
    pub suffix: Text<MARKUP_MAX>,
}

/// How messages become one prompt.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Template {
    /// Before everything.
    pub start: Text<MARKUP_MAX>,
    /// System text of a chat that does not open with a system message; empty for none.
    pub default_system: Text<SYSTEM_MAX>,
    /// Text around messages. A role without an entry is refused.
    pub roles: List<RoleMarkup, ROLES_MAX>,
    /// After everything: where the answer starts.
    pub answer: Text<MARKUP_MAX>,
}

/// A stretch of the prompt.
pub(crate) enum Part<'a> {
    /// The template's own text, in which control tokens count.
    Markup(&'a str),
    /// What somebody wrote, in which they do not.
    Content(&'a str),
}

impl Template {
    pub(crate) fn parts<'a>(
        &'a self,
        messages: &'a [Message],
    ) -> Result<Vec<Part<'a>>, PreprocessError> {
        if messages.is_empty() {
            return Err(PreprocessError::NoMessages);
        }
        let limit = MESSAGES_MAX;
        if messages.len() > limit {
            return Err(PreprocessError::TooManyMessages { messages: messages.len(), limit });
        }
        check_length(messages.iter().map(|message| message.content.len()).sum())?;
        let mut parts = vec![Part::Markup(&self.start)];
        let opens = messages.first().map(|message| message.role);
        if opens != Some(Role::System) && !self.default_system.is_empty() {
            self.message(Role::System, &self.default_system, &mut parts)?;
        }
        for message in messages {
            self.message(message.role, &message.content, &mut parts)?;
        }
        parts.push(Part::Markup(&self.answer));
        Ok(parts)
    }

    fn message<'a>(
        &'a self,
        role: Role,
        content: &'a str,
        parts: &mut Vec<Part<'a>>,
    ) -> Result<(), PreprocessError> {
        let markup = self.roles.iter().find(|markup| markup.role == role);
        let markup = markup.ok_or(PreprocessError::UnknownRole { role })?;
        parts.push(Part::Markup(&markup.prefix));
        parts.push(Part::Content(content));
        parts.push(Part::Markup(&markup.suffix));
        Ok(())
    }
}
