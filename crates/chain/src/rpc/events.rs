//! The stream of events: what happened in each final block, from any height that is kept.
//!
//! Rules: one event of the stream per block, in order, none left out and none twice; its id is
//! the height, so that a reader that lost the connection goes on from there. A reader that does
//! not read holds one block in memory and no more.
//! Never here: filters.

use super::{Shared, error::Refusal};
use axum::response::sse::Event;
use futures::{Stream, stream};
use light::rpc::BlockEvents;
use units::Height;

/// Events from block `from` on, for ever.
///
/// # Errors
/// [`Refusal`] if that block is no longer kept.
pub(super) fn from(
    shared: &Shared,
    from: Height,
) -> Result<impl Stream<Item = Result<Event, axum::Error>> + use<>, Refusal> {
    let oldest = shared.machine.archive().oldest();
    if from < oldest {
        let message = format!("events before block {oldest} are no longer kept");
        return Err(Refusal::bad_request("too_old", message, "start at a later height"));
    }
    let reader = Reader { shared: shared.clone(), next: from };
    Ok(stream::unfold(reader, |mut reader| async move {
        let block = reader.read().await?;
        let id = block.height.to_string();
        let event = Event::default().id(id).json_data(block);
        Some((event, reader))
    }))
}

struct Reader {
    shared: Shared,
    next: Height,
}

impl Reader {
    /// The next block's events; `None` ends the stream.
    async fn read(&mut self) -> Option<BlockEvents> {
        let next = self.next;
        let mut heights = self.shared.machine.heights();
        let mut closed = self.shared.closed.clone();
        tokio::select! {
            grown = heights.wait_for(|height| *height >= next) => drop(grown.ok()?),
            _ = closed.wait_for(|closed| *closed) => return None,
        }
        let machine = std::sync::Arc::clone(&self.shared.machine);
        let read = tokio::task::spawn_blocking(move || machine.archive().read(next));
        let record = read.await.ok()?.ok()??;
        let block = crate::block::Block::decode_content(&record.block)?;
        self.next = next.checked_add(Height::new(1)).ok()?;
        Some(BlockEvents {
            height: next,
            time: block.header().time,
            clock: record.clock,
            events: record.events,
        })
    }
}
