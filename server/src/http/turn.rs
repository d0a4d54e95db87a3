//! A read's turn: its parameters are received, it waits for a place among the reads that run, works on a thread for blocking work
//! until its deadline or until its client leaves, and gives the place back. All that it makes the server hold counts in one budget.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::Request;
use axum::response::Response;
use timberline_engine::{Budget, Error, Held, Watch};
use timberline_query::Cancel;

use super::gate::{Gate, Place};
use super::params::{Known, Params, Sent};
use super::prometheus::{ApiError, ErrorType};
use super::stream::{self, Patience, TEXT_BYTES, Writer};
use crate::state::{AppState, SharedState};

/// Where a read waits for its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Queue {
    Queries,
    Lists,
    Exports,
}

impl Queue {
    fn gate(self, state: &AppState) -> &Gate {
        match self {
            Self::Queries => &state.query_gate,
            Self::Lists => &state.list_gate,
            Self::Exports => &state.export_gate,
        }
    }

    /// Waits for a place, `timeout` at most.
    async fn enter(self, state: &AppState, timeout: Duration) -> Result<Place, ApiError> {
        match tokio::time::timeout(timeout, self.gate(state).enter()).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) => {
                let limit = state.config.query_queue_max;
                let message =
                    format!("limit query_queue_max reached: {limit} queries are waiting already, try again");
                Err(ApiError::new(ErrorType::Unavailable, message).for_limit("query_queue_max"))
            }
            Err(_) => {
                let message =
                    "query timed out in query queue: past query_timeout or the timeout of the request";
                Err(ApiError::new(ErrorType::Timeout, message).for_limit("query_timeout"))
            }
        }
    }
}

/// A read whose parameters are known.
pub(super) struct Read {
    pub(super) state: SharedState,
    pub(super) params: Params,
    /// The read's part of the memory of all reads.
    pub(super) budget: Arc<Budget>,
    /// Ends the work when the client hangs up or the time is over.
    pub(super) cancel: Cancel,
    queue: Queue,
    arrived: Instant,
    timeout: Duration,
    /// A place that it needed to decode its parameters.
    place: Option<Place>,
    /// The memory of the parameters.
    held: Held,
}

impl Read {
    /// Receives the parameters of a request. Waiting and work end after its `timeout` altogether, which is `query-timeout` at most.
    pub(super) async fn receive(
        state: SharedState,
        request: Request,
        known: Known,
        queue: Queue,
    ) -> Result<Self, ApiError> {
        let received = Self::try_receive(SharedState::clone(&state), request, known, queue).await;
        received.inspect_err(|error| error.count(&state))
    }

    async fn try_receive(
        state: SharedState,
        request: Request,
        known: Known,
        queue: Queue,
    ) -> Result<Self, ApiError> {
        let memory_max = usize::try_from(state.config.query_memory_bytes_max).unwrap_or(usize::MAX);
        let budget = state.query_budget.part("query_memory_bytes_max", memory_max);
        let (parts, body) = request.into_parts();
        let sent = Sent::receive(&state, &budget, parts, body).await?;
        let arrived = Instant::now();
        let mut held = budget.hold();
        let (params, place, held) = if sent.is_short() {
            (sent.decode(&state, known, &mut held)?, None, held)
        } else {
            let place = queue.enter(&state, state.config.query_timeout).await?;
            let shared = SharedState::clone(&state);
            let decode =
                move || sent.decode(&shared, known, &mut held).map(|params| (params, Some(place), held));
            let decoded = tokio::task::spawn_blocking(decode).await;
            decoded
                .map_err(|_| ApiError::new(ErrorType::Internal, "internal error: see the server's log"))??
        };
        let timeout = timeout(&params, state.config.query_timeout)?;
        let cancel = Cancel::new().with_timeout(timeout.saturating_sub(arrived.elapsed()));
        Ok(Self { state, params, budget, cancel, queue, arrived, timeout, place, held })
    }

    /// Waits for a place, then answers with what `work` writes on a thread for blocking work. A client that hangs up ends the work.
    pub(super) async fn answer(
        mut self,
        content_type: &'static str,
        work: impl FnOnce(Turn, &mut Writer) -> Result<(), ApiError> + Send + 'static,
    ) -> Result<Response, ApiError> {
        let state = SharedState::clone(&self.state);
        let entered = self.enter().await.and_then(|place| Ok((place, self.budget.take(TEXT_BYTES)?)));
        let (place, text) = entered.inspect_err(|error| error.count(&state))?;
        let mut when_client_leaves = CancelOnDrop(Some(self.cancel.clone()));
        let Self { params, budget, cancel, queue, arrived, held, .. } = self;
        let queued = arrived.elapsed();
        let turn = Turn { state, params, budget, cancel, queued, place, _held: held };
        let (waiting, counted) = (SharedState::clone(&turn.state), SharedState::clone(&turn.state));
        let patience = Patience::new(move || queue.gate(&waiting).waiting() > 0);
        let response = stream::respond(content_type, text, patience, move |writer| {
            let worked = turn.cancel.check().map_err(ApiError::from).and_then(|()| work(turn, writer));
            worked.inspect_err(|error| error.count(&counted))
        })
        .await;
        // From here on the client takes the answer, and its writer sees when it leaves.
        when_client_leaves.0 = None;
        Ok(response)
    }

    async fn enter(&mut self) -> Result<Place, ApiError> {
        match self.place.take() {
            Some(place) => Ok(place),
            None => {
                let left = self.timeout.saturating_sub(self.arrived.elapsed());
                self.queue.enter(&self.state, left).await
            }
        }
    }
}

fn timeout(params: &Params, longest: Duration) -> Result<Duration, ApiError> {
    let asked = params.duration("timeout")?.map(|timeout| u64::try_from(timeout).unwrap_or(0));
    Ok(asked.map_or(longest, |timeout| longest.min(Duration::from_millis(timeout))))
}

/// A read that has its turn.
pub(super) struct Turn {
    pub(super) state: SharedState,
    pub(super) params: Params,
    pub(super) budget: Arc<Budget>,
    pub(super) cancel: Cancel,
    /// How long it had to wait.
    pub(super) queued: Duration,
    pub(super) place: Place,
    _held: Held,
}

impl Turn {
    /// What `work` asks the engine, as long as the client waits and there is time, within the read's memory.
    pub(super) fn watched<T>(
        &self,
        work: impl FnOnce(Watch<'_>) -> timberline_engine::Result<T>,
    ) -> Result<T, ApiError> {
        let goes_on = |_| self.cancel.check().is_ok();
        let found = work(Watch::new(&goes_on).within(&self.budget));
        if let Err(Error::BrokenOff { .. }) = found {
            self.cancel.check()?;
        }
        Ok(found?)
    }
}

/// Ends the work when the future that awaits it is dropped, as it is when the client hangs up.
struct CancelOnDrop(Option<Cancel>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if let Some(cancel) = &self.0 {
            cancel.cancel();
        }
    }
}

/// What an answer holds while its client reads it.
#[expect(dead_code, reason = "held for their drops")]
pub(super) enum Reading {
    Answer(Held, Place),
    Query(Held, Place),
}

impl Reading {
    /// Gives the read's place and its memory to the next one if there is memory to keep this one's answer until its client has read
    /// it: else a few clients that read slowly would keep all others from being answered.
    pub(super) fn begin(state: &AppState, place: Place, answer: Held) -> Self {
        match (state.answer_budget.take(answer.bytes()), state.answer_gate.try_enter()) {
            (Ok(held), Ok(place)) => Self::Answer(held, place),
            _ => Self::Query(answer, place),
        }
    }
}
