//! Games of disputes over random models: whatever the parties do, the honest side wins.
//!
//! Rules: the graphs use every op of the catalogue; the parties show what [`ledger`]'s own player
//! makes of their runs, right or false, in any legal order, late, or never; strangers throw moves
//! in. `GAMES` and `GAMES_SEED` in the environment say how many and which. Never here: a rule of
//! the game.

mod graphs;
mod random;
mod runs;
mod world;

use crypto::Digest;
use ledger::{
    Status,
    disputes::{
        Cause, Line, Party, Tx, Verdict,
        moves::{Length, Move, Subject},
        player::next_move,
    },
    payments::messages::{Finish, RequestBody},
};
use random::Random;
use runs::{Execution, Told, input_leaves, lie};
use std::{collections::BTreeMap, sync::Arc};
use world::{Arena, CHALLENGERS, World, account, owner};

/// Games of a run of the test.
const GAMES: u64 = 2_000;
/// Games of the long run.
const LONG: u64 = 100_000;
/// Models over which they are played.
const MODELS: u64 = 18;
/// Rounds within which every line ends: a round is a move of each side.
const ROUNDS_MAX: u32 = 12;
/// Bytes of all messages of a line.
const LINE_BYTES_MAX: usize = 48 << 10;
/// Blocks within which every game ends.
const BLOCKS_MAX: u32 = 600;

/// Somebody with a run to tell, and a way to behave.
#[derive(Clone)]
struct Player {
    told: Told,
    /// An honest one moves in time, always.
    honest: bool,
    /// After how many own moves a dishonest one falls silent.
    patience: u32,
}

struct Game<'a> {
    world: World<'a>,
    random: Random,
    receipt: Digest,
    defender: Player,
    /// By account number.
    challengers: BTreeMap<u64, Player>,
    /// Bytes of the moves of each line.
    bytes: BTreeMap<u32, usize>,
    /// Moves of each line.
    moves: BTreeMap<u32, u32>,
    /// Moves that strangers tried.
    thrown: Vec<Move>,
}

fn from_env(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// What an honest re-execution finds against a receipt.
fn honest_run(right: &Arc<Execution>, subject: &Subject) -> Told {
    let receipt = &subject.receipt.message;
    let mut told = Told::truly(right);
    if receipt.finish == Finish::Cancelled && right.n_out() >= receipt.n_out {
        let tokens = right.tokens()[..receipt.n_out as usize].to_vec();
        told = Told::truly(&Arc::new(right.with_tokens(tokens, Finish::Cancelled)));
    }
    told
}

/// The operator's receipt: half of them right, some cut off, the others false.
fn signed(
    world: &World<'_>,
    random: &mut Random,
    body: &RequestBody,
    right: &Arc<Execution>,
) -> (Subject, Told, bool) {
    let mut told = if random.chance(1, 2) { Told::truly(right) } else { lie(right, random) };
    let n_out = told.execution.n_out();
    let generates = !told.execution.tokens().is_empty();
    if generates && told.faults.is_empty() && told.false_outputs.is_empty() && random.chance(1, 6) {
        let tokens = told.execution.tokens()[..random.below(n_out.into()) as usize].to_vec();
        let cut = told.execution.with_tokens(tokens, Finish::Cancelled);
        told = Told::truly(&Arc::new(cut));
    }
    let (longer_input, longer_output) = match random.below(40) {
        0 => (1, 0),
        1 => (0, 9), // More than the request allows.
        _ => (0, 0),
    };
    let subject = world.receipt(body, &told, 1, |receipt| {
        receipt.n_in += longer_input;
        receipt.n_out += longer_output;
    });
    let found = honest_run(right, &subject);
    if longer_input + longer_output > 0 || found.finding() != told.finding() {
        return (subject, told, false);
    }
    // Wrong weights may change nothing that a receipt says; its signer then defends the right run.
    (subject, found, true)
}

impl<'a> Game<'a> {
    fn new(arena: &'a Arena, mut random: Random) -> (Self, Subject, bool, Vec<u32>) {
        let mut world = arena.world();
        world.block(500, &[]);
        let (body, ids, right) = arena.right_run(&mut random);
        let (subject, told, honest) = signed(&world, &mut random, &body, &right);
        let receipt = subject.receipt.message.hash();
        let found = honest_run(&right, &subject);
        let patience = |random: &mut Random| match random.below(3) {
            0 => random.below(12) as u32,
            _ => u32::MAX,
        };
        let defender = Player { told, honest, patience: patience(&mut random) };
        let mut challengers = BTreeMap::new();
        let several = if random.chance(1, 8) { 16 } else { 1 + random.below(4) };
        for number in 0..several {
            // Two thirds of those who come forward lie; against a false receipt one never does.
            let truly = !honest && (number == 0 || random.chance(1, 3));
            let told = if truly { found.clone() } else { lie(&right, &mut random) };
            let same = told.finding() == found.finding();
            let told = if same { found.clone() } else { told };
            let (honest, patience) = (same && !honest, patience(&mut random));
            challengers.insert(number, Player { told, honest, patience });
        }
        let (bytes, moves, thrown) = Default::default();
        let game = Self { world, random, receipt, defender, challengers, bytes, moves, thrown };
        (game, subject, honest, ids)
    }

    /// Whoever wants to challenges, at a block of its own.
    fn challenge(&mut self, subject: &Subject, ids: &[u32]) {
        let numbers: Vec<u64> = self.challengers.keys().copied().collect();
        for number in numbers {
            let player = self.challengers[&number].clone();
            let miscounted = subject.receipt.message.n_in as usize != ids.len();
            let subject = Box::new(subject.clone());
            let tx = if player.honest && miscounted {
                let (length, count) = (Length::Input, ids.len() as u64);
                let top = crypto::merkle::tops(&input_leaves(ids), 0)[0];
                Tx::Miscount { subject, length, count, top }
            } else {
                Tx::Challenge { subject, finding: player.told.finding() }
            };
            let transaction = self.world.signed(number, 0, tx);
            self.world.block(500, &[transaction]);
            if self.random.chance(1, 3) {
                self.turn();
            }
        }
    }

    /// Account number of the party on turn, and its player.
    fn on_turn(&self, line: &Line) -> (u64, &Player) {
        match line.phase.turn() {
            Party::Defender => (owner(), &self.defender),
            Party::Challenger => {
                let first = line.backers.first().unwrap().account;
                let number = (0..CHALLENGERS).find(|number| account(*number) == first).unwrap();
                (number, &self.challengers[&number])
            }
        }
    }

    /// One block: some of those who are on turn move, strangers throw moves in.
    fn turn(&mut self) {
        let mut lines = self.world.lines(&self.receipt);
        let Some(record) = self.world.dispute(&self.receipt) else { return };
        for index in (1..lines.len()).rev() {
            lines.swap(index, self.random.below(index as u64 + 1) as usize);
        }
        let (mut sent, mut ahead) = (Vec::new(), BTreeMap::new());
        let mut waits = true;
        for (number, line) in &lines {
            let (mover, player) = self.on_turn(line);
            let player = player.clone();
            let made = self.moves.get(number).copied().unwrap_or(0);
            let silent = !player.honest && made / 2 >= player.patience;
            let late = !silent && self.random.chance(1, 3) && self.is_early(line);
            waits &= !late;
            if late || silent {
                continue;
            }
            let mut told = player.told;
            if let Ok(play) = next_move(&record, line, line.phase.turn(), &mut told) {
                if self.random.chance(1, 8) {
                    self.thrown.push(play.clone());
                }
                let tx = Tx::Play { receipt: self.receipt, line: *number, play };
                let next = ahead.entry(mover).or_insert(0);
                sent.push((Some(*number), self.world.signed(mover, *next, tx)));
                *next += 1;
            }
        }
        if self.random.chance(1, 6) && !self.thrown.is_empty() && !lines.is_empty() {
            let play = self.random.pick(&self.thrown.clone()).clone();
            let line = self.random.pick(&lines).0;
            let tx = Tx::Play { receipt: self.receipt, line, play };
            let stranger = CHALLENGERS - 1;
            let next = ahead.entry(stranger).or_insert(0);
            sent.push((None, self.world.signed(stranger, *next, tx)));
        }
        let all: Vec<_> = sent.iter().map(|(_, transaction)| transaction.clone()).collect();
        let ms = if waits && sent.is_empty() { 5_000 } else { 100 + self.random.below(400) };
        self.world.block(ms, &all);
        for ((line, transaction), outcome) in sent.iter().zip(&self.world.last.outcomes) {
            if let (Some(line), Status::Applied) = (line, &outcome.status) {
                *self.bytes.entry(*line).or_default() += transaction.bytes();
                *self.moves.entry(*line).or_default() += 1;
            }
        }
    }

    /// Whether the party on turn has time to spare.
    fn is_early(&self, line: &Line) -> bool {
        line.due.get() > self.world.clock().get() + 12_000
    }

    /// Plays until no line is open.
    fn play(&mut self) {
        let mut blocks = 0;
        while !self.world.lines(&self.receipt).is_empty() {
            self.turn();
            blocks += 1;
            assert!(blocks < BLOCKS_MAX, "a line never ends");
            if blocks % 8 == 0 {
                self.world.check();
            }
        }
        self.world.check();
        for (line, moves) in &self.moves {
            assert!(moves.div_ceil(2) <= ROUNDS_MAX, "line {line} took {moves} moves");
            assert!(self.bytes[line] <= LINE_BYTES_MAX, "line {line}: {} bytes", self.bytes[line]);
        }
    }
}

/// What a series has seen.
#[derive(Debug, Default)]
struct Seen {
    honest: u64,
    convicted: u64,
    causes: BTreeMap<String, u64>,
    most_moves: u32,
    most_bytes: usize,
}

fn play(arena: &Arena, seed: u64, number: u64, seen: &mut Seen) {
    let (mut game, subject, honest, ids) = Game::new(arena, Random::of(seed, number));
    let before = game.world.state.clone();
    game.challenge(&subject, &ids);
    game.play();
    let verdicts = game.world.verdicts();
    let lost: Vec<&Verdict> = verdicts.iter().filter(|v| v.loser == Party::Defender).collect();
    if honest {
        assert!(lost.is_empty(), "an honest operator lost: {lost:?}");
        seen.honest += 1;
    } else {
        assert!(!lost.is_empty(), "a false receipt stands: {verdicts:?}");
        let proven = lost.iter().any(|verdict| verdict.cause.is_proof());
        let silent = lost.iter().all(|v| matches!(v.cause, Cause::NoAnswer { flood: false }));
        assert!(proven || silent, "{lost:?}");
        seen.convicted += 1;
        let gone = |number: &u64| {
            let of = |state| ledger::accounts::account(state, &account(*number)).unwrap().unwrap();
            let fees = ledger::Params::devnet().disputes.step_fee.get() * 40;
            of(&game.world.state).balance.get() + fees < of(&before).balance.get()
        };
        let honest = game.challengers.iter().filter(|(_, player)| player.honest);
        let robbed: Vec<_> =
            honest.map(|(number, _)| number).filter(|number| gone(number)).collect();
        assert!(robbed.is_empty(), "honest challengers lost their bonds: {robbed:?}");
    }
    for verdict in &verdicts {
        let name = format!("{:?} loses by {:?}", verdict.loser, verdict.cause);
        let name = name.split(" {").next().unwrap().to_owned();
        *seen.causes.entry(name).or_default() += 1;
    }
    let most = game.moves.values().copied().max().unwrap_or(0);
    seen.most_moves = seen.most_moves.max(most);
    seen.most_bytes = seen.most_bytes.max(game.bytes.values().copied().max().unwrap_or(0));
}

fn series(games: u64, seed: u64) -> Seen {
    eprintln!("replay with GAMES={games} GAMES_SEED={seed}");
    let arena = Arena::new(MODELS);
    let mut seen = Seen::default();
    for number in 0..games {
        let played = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            play(&arena, seed, number, &mut seen);
        }));
        if let Err(panic) = played {
            eprintln!("game {number} of GAMES_SEED={seed} failed");
            std::panic::resume_unwind(panic);
        }
    }
    seen
}

/// Plays a share of the games and holds what was seen against what must have been.
fn share(games: u64, seed: u64) {
    let games = from_env("GAMES", games) / 2;
    let seen = series(games, from_env("GAMES_SEED", seed));
    eprintln!("{seen:#?}");
    assert!(seen.honest > games / 4 && seen.convicted > games / 4);
    let causes: Vec<&str> = seen.causes.keys().map(String::as_str).collect();
    for cause in ["WrongStep", "WrongOutput", "WrongFinish", "WrongLength", "Impossible"] {
        let name = format!("Defender loses by {cause}");
        assert!(causes.contains(&name.as_str()), "no game ended by {cause}");
    }
}

#[test]
fn the_honest_side_wins_every_game_and_no_honest_operator_loses() {
    share(GAMES, 4);
}

#[test]
fn the_honest_side_wins_other_games_too() {
    share(GAMES, 5);
}

#[test]
#[ignore = "an hour; `cargo xtask soak` runs it"]
fn soak_the_honest_side_wins_fifty_thousand_games() {
    share(LONG, 6);
}

#[test]
#[ignore = "an hour; `cargo xtask soak` runs it"]
fn soak_the_honest_side_wins_another_fifty_thousand_games() {
    share(LONG, 7);
}
