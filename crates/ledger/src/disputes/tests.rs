//! Disputes: scenarios as sentences over runs of a toy model, and properties of the formulas.

use super::{
    Cause, Dispute, Error, Event, Line, Params, Party, Phase, Tx, Verdict,
    apply::{Backing, open},
    dispute, line, load,
    math::{
        allowance, bond, defender_cost, ends_wrongly, is_comparable, is_possible, time_of,
        work_units,
    },
    moves::{ClaimedIn, Finding, Length, Move, Subject},
    open_count,
    player::{Stuck, next_move},
    schema::LINES,
    state::BACKERS_MAX,
};
use crate::{
    Call, Event as AnyEvent, Rejection, Status,
    accounts::{
        Pot,
        apply::{Purse, move_coin},
    },
    context::Context,
    error::Failure,
    models::{self, Publication},
    params::SECOND,
    payments::messages::{AuditMode, Finish, Receipt, Request},
    staking,
    store::{Overlay, Read},
    testing::{
        LaneOf, PORTS, World, account, claim_of, coins, digest, file, grant, operator_of, public,
        toy::{self, FINE_LEAVES, OP, ToyRun},
        whole_credits,
    },
    verification,
    verifier::{ModelFacts, Task},
};
use crypto::{ChainId, Digest, merkle};
use proptest::prelude::*;
use units::{Coin, Credit, Epoch, List, Millis, Round, Text, UsdNano, WorkUnits};

fn rejected(error: Error) -> Status {
    Status::Rejected(Rejection::Disputes(error))
}

/// A receipt of olga's operator, with the run behind it and the right one.
struct Case {
    world: World,
    request: Request,
    subject: Subject,
    receipt: Digest,
    /// The operator's.
    theirs: ToyRun,
    right: ToyRun,
}

/// A world with olga's operator and the toy model, in which a receipt has just been signed for a
/// run that `lie` has changed.
fn signed(lie: impl FnOnce(&mut ToyRun)) -> Case {
    let mut world = World::new();
    world.register("olga", "box");
    let publication = Publication {
        publisher: Text::new("acme").unwrap(),
        name: Text::new("toy").unwrap(),
        manifest: models::schema::Manifest::new(borsh::to_vec(&toy::facts()).unwrap()).unwrap(),
        graph: models::schema::Graph::new(vec![1; 40]).unwrap(),
    };
    world.done("alice", Call::Models(models::Tx::Publish(publication)));
    world.block(&[]);
    case(world, 1, lie)
}

fn case(world: World, sequence: u64, lie: impl FnOnce(&mut ToyRun)) -> Case {
    let freshness = Round::new(world.round.get() - 1);
    let request = toy::request(world.chain, sequence, 6, Some(103), freshness);
    let right = ToyRun::right(&request.body);
    let mut theirs = right.clone();
    lie(&mut theirs);
    let subject = toy::subject(request.clone(), toy::receipt(&request, &theirs), "box");
    let receipt = subject.receipt.message.hash();
    Case { world, request, subject, receipt, theirs, right }
}

impl Case {
    fn challenge_with(&self, finding: Finding) -> Call {
        let subject = Box::new(self.subject.clone());
        Call::Disputes(Tx::Challenge { subject, finding })
    }

    /// What somebody sends who has run the request right.
    fn challenge(&self) -> Call {
        self.challenge_with(self.right.finding())
    }

    fn dispute(&self) -> Dispute {
        dispute(&self.world.state, &self.receipt).unwrap().unwrap()
    }

    fn line(&self, number: u32) -> Option<Line> {
        line(&self.world.state, &self.receipt, number).unwrap()
    }

    fn lines(&self) -> Vec<(u32, Line)> {
        let all = self.world.state.scan(&LINES, &self.receipt, usize::MAX).unwrap();
        all.into_iter().map(|((_, number), line)| (number, line)).collect()
    }

    fn play(&self, line: u32, play: Move) -> Call {
        Call::Disputes(Tx::Play { receipt: self.receipt, line, play })
    }

    /// The move of whoever is on turn in a line, with the run it has.
    fn next(&self, number: u32, run: &ToyRun) -> Result<Move, Stuck<std::convert::Infallible>> {
        let line = self.line(number).unwrap();
        next_move(&self.dispute(), &line, line.phase.turn(), &mut run.clone())
    }

    /// One move in a line: olga's from `defender`, the line's own challenger's from `challenger`.
    fn step(&mut self, number: u32, defender: &ToyRun, challenger: &ToyRun) {
        let line = self.line(number).unwrap();
        let (name, run) = match line.phase.turn() {
            Party::Defender => ("olga".to_owned(), defender),
            Party::Challenger => {
                let first = line.backers.first().unwrap().account;
                let names = ["alice", "bob", "otto", "gateway", "olga"].into_iter();
                (names.map(str::to_owned).find(|n| account(n) == first).unwrap(), challenger)
            }
        };
        let play = self.next(number, run).unwrap();
        let call = self.play(number, play);
        self.world.done(&name, call);
    }

    /// Both sides play until the line is decided.
    fn finish(&mut self, number: u32, challenger: &ToyRun) -> Verdict {
        let theirs = self.theirs.clone();
        let mut moves = 0;
        while self.line(number).is_some() {
            self.step(number, &theirs, challenger);
            moves += 1;
            assert!(moves <= 24, "a line of so few leaves ends sooner");
        }
        self.verdict(Some(number))
    }

    fn verdict(&self, line: Option<u32>) -> Verdict {
        let mut all = verdicts(&self.world);
        all.retain(|verdict| verdict.receipt == self.receipt && verdict.line == line);
        all.pop().unwrap()
    }

    /// Opens a line in alice's name and plays it out.
    fn decided(mut self) -> (Verdict, Self) {
        let right = self.right.clone();
        let challenge = self.challenge();
        self.world.done("alice", challenge);
        (self.finish(0, &right), self)
    }

    fn status(&mut self, name: &str, call: Call) -> Status {
        self.world.send(name, call)
    }
}

/// Every verdict so far; module `verification` has taken them.
fn verdicts(world: &World) -> Vec<Verdict> {
    let verdict = |event: &AnyEvent| match event {
        AnyEvent::Disputes(Event::Decided(verdict)) => Some(*verdict),
        _ => None,
    };
    world.log.iter().filter_map(verdict).collect()
}

/// Moves on until the line has come to a phase.
fn until(case: &mut Case, number: u32, reached: impl Fn(&Phase) -> bool) {
    let (theirs, right) = (case.theirs.clone(), case.right.clone());
    while !reached(&case.line(number).unwrap().phase) {
        case.step(number, &theirs, &right);
    }
}

/// A row of the first position is wrong.
fn one_row(run: &mut ToyRun) {
    run.faults.push((1, FINE_LEAVES - 1));
}

/// A wrong token, in the trace and in the output alike.
fn one_token(run: &mut ToyRun) {
    run.tokens[1] = 500;
}

#[test]
fn r1_a_subject_is_a_receipt_of_a_registered_operator_on_a_request_of_this_chain() {
    let mut case = signed(one_row);
    let finding = case.right.finding();
    let subject = |case: &Case, change: &dyn Fn(&mut Subject)| {
        let mut subject = case.subject.clone();
        change(&mut subject);
        Call::Disputes(Tx::Challenge { subject: Box::new(subject), finding })
    };
    let call = subject(&case, &|it| it.request.message.sequence = 9);
    assert_eq!(case.status("alice", call), rejected(Error::Mismatch));
    let call = subject(&case, &|it| it.receipt.message.n_out = 3);
    assert_eq!(case.status("alice", call), rejected(Error::BadSignature));
    let call = subject(&case, &|it| it.receipt.message.key_epoch = 1);
    assert_eq!(case.status("alice", call), rejected(Error::BadKeyEpoch { key_epoch: 1 }));
    let stranger = operator_of("bob", 0);
    let mut request = case.request.clone();
    request.operator = stranger;
    let other = toy::subject(request.clone(), toy::receipt(&request, &case.theirs), "box");
    let call = Call::Disputes(Tx::Challenge { subject: Box::new(other), finding });
    let unknown = rejected(Error::UnknownOperator { operator: stranger });
    assert_eq!(case.status("alice", call), unknown);
    let mut request = case.request.clone();
    request.body.semantics = 2;
    let other = toy::subject(request.clone(), toy::receipt(&request, &case.theirs), "box");
    let call = Call::Disputes(Tx::Challenge { subject: Box::new(other), finding });
    let model = toy::facts().model;
    assert_eq!(case.status("alice", call), rejected(Error::UnknownModel { model }));
}

#[test]
fn r1_request_and_receipt_belong_together_in_every_part_that_names_the_other() {
    let mut case = signed(one_row);
    let finding = case.right.finding();
    let mut elsewhere = case.request.clone();
    elsewhere.body.chain = ChainId::new(digest("elsewhere"));
    let theirs = toy::receipt(&case.request, &case.theirs);
    let changed = |change: &dyn Fn(&mut Receipt)| {
        let mut receipt = theirs.clone();
        change(&mut receipt);
        (case.request.clone(), receipt)
    };
    let pairs = [
        (elsewhere.clone(), toy::receipt(&elsewhere, &case.theirs)),
        changed(&|it| it.request = digest("other")),
        changed(&|it| it.operator = operator_of("olga", 1)),
        changed(&|it| it.sequence = 9),
    ];
    for (request, receipt) in pairs {
        let subject = Box::new(toy::subject(request, receipt, "box"));
        let call = Call::Disputes(Tx::Challenge { subject, finding });
        assert_eq!(case.status("alice", call), rejected(Error::Mismatch));
    }
}

#[test]
fn r1_what_a_key_signs_after_it_was_rotated_away_is_not_the_operators_word() {
    let mut case = signed(one_row);
    let operator = operator_of("olga", 0);
    let rotate = staking::Tx::RotateBoxKey { operator, box_key: public("new box") };
    case.world.done("olga", Call::Staking(rotate));
    let before = case.challenge();
    assert_eq!(case.status("alice", before), Status::Applied);
    case.world.wait(120_000);
    let mut late = self::case(case.world, 2, one_row);
    let challenge = late.challenge();
    assert_eq!(late.status("alice", challenge), rejected(Error::BadKeyEpoch { key_epoch: 0 }));
}

#[test]
fn r2_the_window_counts_from_the_request_or_from_the_claim() {
    let mut case = signed(one_row);
    case.world.wait(24_000);
    let challenge = case.challenge();
    assert_eq!(case.status("alice", challenge), Status::Applied);
    let mut case = signed(one_row);
    case.world.wait(26_000);
    let challenge = case.challenge();
    let status = case.status("alice", challenge);
    assert!(matches!(status, Status::Rejected(Rejection::Disputes(Error::WindowClosed { .. }))));

    let mut case = claimed();
    case.world.wait(15_000);
    let challenge = case.challenge();
    assert_eq!(case.status("alice", challenge), Status::Applied);
    let mut case = claimed();
    case.subject.claimed.as_mut().unwrap().epoch = Epoch::new(900);
    let challenge = case.challenge();
    assert_eq!(case.status("alice", challenge), rejected(Error::NotClaimed));
}

/// A wrong receipt that stands in a claim filed 12 seconds after it.
fn claimed() -> Case {
    let mut case = signed(one_row);
    let operator = operator_of("olga", 0);
    case.world.fund("gateway", 100);
    let allocation = case.world.allocate("gateway", operator, whole_credits(50));
    let receipt = &case.subject.receipt.message;
    let leaf = receipt.leaf(case.request.payer, case.request.lane);
    let tree = crypto::merkle_sum::SumTree::new(&[leaf]).unwrap();
    let lane = LaneOf {
        payer: "gateway",
        signer: "gateway",
        lane: 0,
        allocation,
        range: (1, 1),
        cumulative: (Credit::ZERO, receipt.fee),
    };
    case.world.wait(12_000);
    let epoch = Epoch::new(case.world.now().epoch(&case.world.params().windows).get() - 1);
    let mut claim = claim_of(operator, epoch, vec![lane.claim(case.world.chain, operator)]);
    (claim.root, claim.totals) = (tree.root(), tree.totals());
    case.world.done("olga", file(claim));
    case.subject.claimed = Some(ClaimedIn { epoch, path: tree.path(0).unwrap() });
    case
}

#[test]
fn r2_what_not_everybody_may_see_is_challenged_by_its_payer_alone() {
    for mode in [AuditMode::Sealed, AuditMode::CanaryOnly] {
        let mut case = signed(one_row);
        case.request.audit_mode = mode;
        let receipt = toy::receipt(&case.request, &case.theirs);
        case.subject = toy::subject(case.request.clone(), receipt, "box");
        case.receipt = case.subject.receipt.message.hash();
        let (challenge, payer) = (case.challenge(), account("gateway"));
        let only = rejected(Error::OnlyThePayer { mode, payer });
        assert_eq!(case.status("alice", challenge.clone()), only);
        let finding = case.right.finding();
        assert_eq!(posted(&mut case, &finding, Coin::new(7)), Ok(Some(0)), "an auditor's finding");
        case.world.fund("gateway", 10);
        case.world.done("gateway", challenge);
    }
}

#[test]
fn r3_a_receipt_that_no_run_can_have_given_convicts_itself() {
    let change: [&dyn Fn(&mut crate::payments::messages::Receipt); 4] = [
        &|it| it.n_in = 65,
        &|it| it.work_units = WorkUnits::new(1),
        &|it| it.fee = Credit::new(1),
        &|it| it.n_out = 0,
    ];
    for change in change {
        let mut case = signed(one_row);
        let mut receipt = toy::receipt(&case.request, &case.theirs);
        change(&mut receipt);
        case.subject = toy::subject(case.request.clone(), receipt, "box");
        case.receipt = case.subject.receipt.message.hash();
        let (challenge, before) = (case.challenge(), case.world.balance("alice"));
        let fee = case.world.params().disputes.challenge_fee;
        case.world.done("alice", challenge);
        assert_eq!(case.verdict(None).cause, Cause::Impossible);
        // No bond is taken; for the evidence itself there is a reward.
        assert!(case.world.balance("alice") >= before.checked_sub(fee).unwrap());
        assert_eq!(case.world.pot(Pot::DisputeBonds), Coin::ZERO);
    }
}

#[test]
fn r3_a_run_ends_as_its_task_does_takes_what_the_model_takes_and_costs_what_its_lengths_cost() {
    let case = signed(|_| ());
    let right = case.subject.receipt.message.clone();
    let possible = |task, change: &dyn Fn(&mut Receipt)| {
        let mut receipt = right.clone();
        change(&mut receipt);
        let facts = ModelFacts { task, ..toy::facts() };
        let work = work_units(&facts, receipt.n_in, receipt.n_out).unwrap();
        is_possible(&receipt, &facts, work, case.request.price)
    };
    let same = |lengths: (u32, u32)| {
        let price = case.request.price;
        move |it: &mut Receipt| {
            (it.n_in, it.n_out) = lengths;
            it.work_units = work_units(&toy::facts(), it.n_in, it.n_out).unwrap();
            it.fee = crate::payments::messages::fee(price, it.work_units).unwrap();
        }
    };
    assert!(possible(Task::Generate, &|_| ()));
    assert!(possible(Task::Generate, &same((64, 4))), "the most that the model takes");
    assert!(!possible(Task::Generate, &same((65, 4))));
    assert!(!possible(Task::Generate, &same((3, 0))), "a whole answer has a token");
    assert!(possible(Task::Generate, &|it| {
        same((3, 0))(it);
        it.finish = Finish::Cancelled;
    }));
    assert!(!possible(Task::Generate, &|it| it.work_units = WorkUnits::new(1)));
    assert!(!possible(Task::Generate, &|it| it.fee = Credit::new(1)));
    for (finish, ends) in [(Finish::Stop, true), (Finish::Cancelled, false)] {
        assert_eq!(possible(Task::Embed, &|it| it.finish = finish), ends, "an embedding stops");
    }
}

#[test]
fn r3_a_length_that_is_not_that_of_its_tree_convicts() {
    let mut case = signed(|_| ());
    let mut receipt = toy::receipt(&case.request, &case.theirs);
    receipt.n_in = 4;
    receipt.work_units = WorkUnits::new(receipt.work_units.get() + 1);
    receipt.fee = crate::payments::messages::fee(case.request.price, receipt.work_units).unwrap();
    case.subject = toy::subject(case.request.clone(), receipt, "box");
    case.receipt = case.subject.receipt.message.hash();
    let top = merkle::tops(&toy::input_leaves(), 0)[0];
    let miscount = |case: &Case, count, top| {
        let (subject, length) = (Box::new(case.subject.clone()), Length::Input);
        Call::Disputes(Tx::Miscount { subject, length, count, top })
    };
    for (count, top) in [(4, top), (3, digest("other")), (2, top)] {
        let call = miscount(&case, count, top);
        assert_eq!(case.status("alice", call), rejected(Error::BadCount));
    }
    let call = miscount(&case, 3, top);
    case.world.done("alice", call.clone());
    assert_eq!(case.verdict(None).cause, Cause::WrongLength);
    assert_eq!(case.status("bob", call), rejected(Error::AlreadyProven));
}

#[test]
fn r3_an_input_that_the_model_cannot_read_convicts() {
    let mut case = signed(|_| ());
    let mut request = case.request.clone();
    let salt = crypto::Salt::new([3; 32]);
    let ids = [7_u32, 1_000, 9];
    let leaf = |(index, id): (u64, &u32)| {
        merkle::salted_leaf(&salt, crypto::Tree::Input, index, &id.to_le_bytes())
    };
    let leaves: Vec<Digest> = (0..).zip(&ids).map(leaf).collect();
    request.body.input_commit = merkle::root(&leaves);
    case.subject = toy::subject(request.clone(), toy::receipt(&request, &case.theirs), "box");
    case.receipt = case.subject.receipt.message.hash();
    let foreign = |case: &Case, position: u32| {
        let at = u64::from(position);
        Call::Disputes(Tx::Foreign {
            subject: Box::new(case.subject.clone()),
            position,
            token: ids[position as usize],
            salt: salt.of_leaf(crypto::Tree::Input, at),
            proof: merkle::RangeProof::new(&leaves, at..at + 1).unwrap(),
        })
    };
    let known = foreign(&case, 0);
    assert_eq!(case.status("alice", known), rejected(Error::NotForeign));
    let Call::Disputes(Tx::Foreign { subject, position, salt, proof, .. }) = foreign(&case, 1)
    else {
        unreachable!()
    };
    let other = Tx::Foreign { subject, position, token: 2_000, salt, proof };
    assert_eq!(case.status("alice", Call::Disputes(other)), rejected(Error::NotForeign));
    let call = foreign(&case, 1);
    case.world.done("alice", call);
    assert_eq!(case.verdict(None).cause, Cause::Impossible);
}

#[test]
fn r4_equal_findings_share_a_line_and_others_get_their_own() {
    let mut case = signed(one_row);
    let challenge = case.challenge();
    case.world.done("alice", challenge.clone());
    case.world.done("bob", challenge.clone());
    assert_eq!(case.lines().len(), 1);
    assert_eq!(case.line(0).unwrap().backers.len(), 2);
    assert_eq!(case.status("bob", challenge), rejected(Error::AlreadyBehind { line: 0 }));
    let mut other = case.right.clone();
    other.faults.push((2, FINE_LEAVES - 1));
    let challenge = case.challenge_with(other.finding());
    case.world.done("bob", challenge);
    assert_eq!((case.lines().len(), case.dispute().open), (2, 2));
    assert_eq!(open_count(&case.world.state, &operator_of("olga", 0)).unwrap(), 1);
}

#[test]
fn r4_a_finding_is_one_that_a_re_execution_can_have() {
    let mut case = signed(one_row);
    let right = case.right.finding();
    let findings = [
        Finding { n_out: 0, ..right },
        Finding { n_out: 7, ..right },
        Finding { finish: Finish::Cancelled, ..right },
    ];
    for finding in findings {
        let challenge = case.challenge_with(finding);
        assert_eq!(case.status("alice", challenge), rejected(Error::BadFinding));
    }
    let mut cancelled = signed(|run| {
        one_row(run);
        run.tokens.truncate(2);
        run.finish = Finish::Cancelled;
    });
    let longer = cancelled.challenge();
    assert_eq!(cancelled.status("alice", longer), rejected(Error::BadFinding));
    let mut cut = cancelled.right.clone();
    cut.tokens.truncate(2);
    cut.finish = Finish::Cancelled;
    let challenge = cancelled.challenge_with(cut.finding());
    cancelled.world.done("alice", challenge);
    assert_eq!(cancelled.finish(0, &cut).loser, Party::Defender);
}

#[test]
fn r4_the_seventeenth_equal_finding_starts_a_line_of_its_own() {
    let mut case = signed(one_row);
    let challenge = case.challenge();
    for number in 0..=BACKERS_MAX {
        let name = format!("challenger {number}");
        let fund = crate::testing::transfer(&name, coins(10));
        case.world.done("bob", fund);
        case.world.done(&name, challenge.clone());
    }
    let sizes: Vec<usize> = case.lines().iter().map(|(_, line)| line.backers.len()).collect();
    assert_eq!(sizes, [BACKERS_MAX, 1]);
}

#[test]
fn r5_a_stranger_may_make_the_moves_that_follow_from_digests() {
    let mut case = signed(one_row);
    let challenge = case.challenge();
    case.world.done("alice", challenge);
    let (theirs, right) = (case.theirs.clone(), case.right.clone());
    for run in [&theirs, &right] {
        let play = case.next(0, run).unwrap();
        let call = case.play(0, play);
        case.world.done("otto", call);
    }
    assert_eq!(case.line(0).unwrap().moves, 2);
}

#[test]
fn r5_a_move_that_is_not_due_or_does_not_hash_is_rejected_and_changes_nothing() {
    let mut case = signed(one_row);
    let challenge = case.challenge();
    case.world.done("alice", challenge);
    let unknown = Error::UnknownLine { receipt: case.receipt, line: 9 };
    let answer = case.next(0, &case.theirs).unwrap();
    let call = case.play(9, answer.clone());
    assert_eq!(case.status("olga", call), rejected(unknown));
    let call = case.play(0, Move::Refine { parts: Default::default() });
    assert_eq!(case.status("alice", call), rejected(Error::OutOfTurn));
    let Move::Answer { salt, parts } = answer else { panic!("{answer:?}") };
    let call = case.play(0, Move::Answer { salt: digest("other"), parts: parts.clone() });
    assert_eq!(case.status("olga", call), rejected(Error::WrongTrace));
    let tops = List::new(parts.tops.iter().copied().skip(1).collect()).unwrap();
    let short = super::moves::Parts { tops, ..parts.clone() };
    let call = case.play(0, Move::Answer { salt, parts: short });
    assert_eq!(case.status("olga", call), rejected(Error::WrongParts));
    let before = case.line(0);
    let call = case.play(0, Move::Answer { salt, parts: case_parts(&case.right, &parts) });
    assert_eq!(case.status("olga", call), rejected(Error::WrongTrace));
    assert_eq!(case.line(0), before);
}

/// The parts of another run in the shape of `parts`.
fn case_parts(run: &ToyRun, parts: &super::moves::Parts) -> super::moves::Parts {
    use super::player::Run as _;
    let leaves = run.clone().trace().unwrap();
    let tops = List::new(merkle::tops(&leaves, super::moves::LEVELS)).unwrap();
    super::moves::Parts { tops, ..parts.clone() }
}

#[test]
fn r6_the_ledger_picks_the_first_difference_so_a_false_suffix_does_not_hide_it() {
    let mut case = signed(|run| {
        (5..run.leaves()).for_each(|coarse| run.faults.push((coarse, FINE_LEAVES - 1)));
    });
    let challenge = case.challenge();
    case.world.done("alice", challenge);
    until(&mut case, 0, |phase| phase.coarse().is_some());
    assert_eq!(case.line(0).unwrap().phase.coarse().unwrap().leaf, 5);
    let right = case.right.clone();
    assert_eq!(case.finish(0, &right).cause, Cause::WrongStep { op: OP, weights: true });
}

#[test]
fn r6_runs_of_different_length_compare_over_what_both_have() {
    let longer = |run: &mut ToyRun| {
        run.tokens.extend([104, 105]);
        run.finish = Finish::Length;
        run.faults.push((20, FINE_LEAVES - 1));
    };
    let shorter = |run: &mut ToyRun| {
        run.tokens.truncate(2);
        run.faults.push((4, FINE_LEAVES - 1));
    };
    for lie in [&longer as &dyn Fn(&mut ToyRun), &shorter] {
        let (verdict, _) = signed(lie).decided();
        assert_eq!(verdict.loser, Party::Defender);
    }
    let mut case = signed(longer);
    let challenge = case.challenge();
    case.world.done("alice", challenge);
    let Move::Answer { salt, mut parts } = case.next(0, &case.theirs).unwrap() else { panic!() };
    parts.prefix = None;
    let call = case.play(0, Move::Answer { salt, parts });
    assert_eq!(case.status("olga", call), rejected(Error::WrongPrefix));
}

#[test]
fn r7_only_the_parties_give_their_fine_trees_and_a_shared_line_forks_there() {
    let mut case = signed(one_row);
    let challenge = case.challenge();
    case.world.done("alice", challenge.clone());
    case.world.done("bob", challenge.clone());
    until(&mut case, 0, |phase| phase.coarse().is_some());
    let lines = case.lines();
    let first = |line: &Line| line.backers.first().unwrap().account;
    let accounts: Vec<_> = lines.iter().map(|(_, line)| first(line)).collect();
    assert_eq!(accounts, [account("alice"), account("bob")]);
    let forked =
        Event::Forked { receipt: case.receipt, from: 0, line: 1, challenger: account("bob") };
    assert!(case.world.last.events.contains(&AnyEvent::Disputes(forked)));
    let split = case.next(0, &case.theirs).unwrap();
    let call = case.play(0, split.clone());
    let key = public("bob");
    assert_eq!(case.status("bob", call), rejected(Error::NotTheParty { key }));
    let mut unbound = split.clone();
    if let Move::Split { parts } = &mut unbound {
        parts.outputs = None;
    }
    let call = case.play(0, unbound);
    assert_eq!(case.status("olga", call), rejected(Error::WrongOutputs));
    let call = case.play(0, split);
    case.world.done("olga", call);
    let refine = case.next(0, &case.right).unwrap();
    let call = case.play(0, refine);
    assert_eq!(case.status("bob", call), rejected(Error::NotTheParty { key }));
    case.world.done("otto", challenge);
    assert_eq!(case.lines().len(), 3, "a later challenger starts at the fine tree, alone");
    let right = case.right.clone();
    assert_eq!(case.finish(0, &right).loser, Party::Defender);
    assert!(case.lines().is_empty());
}

#[test]
fn r8_the_operator_loses_by_a_step_and_only_by_a_wrong_one() {
    let mut case = signed(one_token);
    let challenge = case.challenge();
    case.world.done("alice", challenge);
    until(&mut case, 0, |phase| matches!(phase, Phase::Open { .. }));
    let call = case.play(0, Move::Open { bytes: crate::bytes::Bytes::new(vec![1]).unwrap() });
    assert_eq!(case.status("olga", call), rejected(Error::WrongLeaf));
    until(&mut case, 0, |phase| matches!(phase, Phase::Execute { .. }));
    let Move::Execute { openings, element } = case.next(0, &case.right).unwrap() else { panic!() };
    let execute = |element, openings| Move::Execute { element, openings };
    let call = case.play(0, execute(3, openings.clone()));
    assert_eq!(case.status("alice", call), rejected(Error::NothingWrong));
    let call = case.play(0, execute(4, openings.clone()));
    let status = case.status("alice", call);
    assert!(matches!(status, Status::Rejected(Rejection::Disputes(Error::BadStep { .. }))));
    let call = case.play(0, execute(element, openings));
    case.world.done("otto", call);
    let verdict = case.verdict(Some(0));
    assert_eq!(verdict.cause, Cause::WrongStep { op: OP, weights: true });
    assert_eq!((verdict.loser, verdict.challenger), (Party::Defender, account("alice")));
}

#[test]
fn r8_an_honest_operator_is_not_proven_wrong_whatever_the_challenger_shows() {
    let mut case = signed(|_| ());
    let mut liar = case.right.clone();
    liar.faults.push((7, FINE_LEAVES - 1));
    let challenge = case.challenge_with(liar.finding());
    case.world.done("alice", challenge);
    let theirs = case.theirs.clone();
    while !matches!(case.line(0).unwrap().phase, Phase::Execute { .. }) {
        case.step(0, &theirs, &liar);
    }
    for element in 0..8 {
        let Move::Execute { openings, .. } = case.next(0, &liar).unwrap() else { panic!() };
        let call = case.play(0, Move::Execute { element, openings });
        assert_eq!(case.status("alice", call), rejected(Error::NothingWrong));
    }
    case.world.wait(60_000);
    let verdict = case.verdict(Some(0));
    assert_eq!(verdict.loser, Party::Challenger);
    assert_eq!(verdict.cause, Cause::NoAnswer { flood: false });
}

#[test]
fn r9_an_answer_that_goes_on_after_its_end_or_stops_before_it_is_wrong() {
    let late = |run: &mut ToyRun| {
        run.tokens.extend([104, 105]);
        run.finish = Finish::Length;
    };
    let early = |run: &mut ToyRun| {
        run.tokens.truncate(2);
        run.finish = Finish::Stop;
    };
    let otherwise = |run: &mut ToyRun| run.finish = Finish::Length;
    for lie in [&late as &dyn Fn(&mut ToyRun), &early, &otherwise] {
        let (verdict, _) = signed(lie).decided();
        assert_eq!((verdict.loser, verdict.cause), (Party::Defender, Cause::WrongFinish));
    }
}

#[test]
fn r9_a_cancelled_answer_is_not_held_against_its_length() {
    let mut case = signed(|run| {
        run.tokens.truncate(2);
        run.finish = Finish::Cancelled;
    });
    let mut shorter = case.theirs.clone();
    shorter.tokens.truncate(1);
    shorter.finish = Finish::Stop;
    let challenge = case.challenge_with(shorter.finding());
    case.world.done("alice", challenge);
    let theirs = case.theirs.clone();
    while !matches!(case.line(0).unwrap().phase, Phase::End) {
        case.step(0, &theirs, &shorter);
    }
    let end = case.next(0, &shorter).unwrap();
    let call = case.play(0, end);
    assert_eq!(case.status("alice", call), rejected(Error::NothingWrong));
}

#[test]
fn r10_an_output_that_is_not_what_the_trace_says_is_wrong() {
    let mut case = signed(|run| run.false_outputs.push(2));
    let challenge = case.challenge();
    case.world.done("alice", challenge);
    until(&mut case, 0, |phase| matches!(phase, Phase::Output { .. }));
    let Move::Output(proof) = case.next(0, &case.right).unwrap() else { panic!() };
    let mut other = proof.clone();
    other.salt = crypto::Salt::new([9; 32]);
    let call = case.play(0, Move::Output(other));
    assert_eq!(case.status("alice", call), rejected(Error::BadPath));
    let mut other = proof.clone();
    other.bytes = crate::bytes::Bytes::new(103_u32.to_le_bytes().to_vec()).unwrap();
    let call = case.play(0, Move::Output(other));
    assert_eq!(case.status("alice", call), rejected(Error::BadPath));
    let call = case.play(0, Move::Output(proof));
    case.world.done("alice", call);
    assert_eq!(case.verdict(Some(0)).cause, Cause::WrongOutput);
}

#[test]
fn r10_a_challenger_that_found_the_same_loses() {
    let (verdict, _) = signed(|_| ()).decided();
    assert_eq!((verdict.loser, verdict.cause), (Party::Challenger, Cause::SameFinding));
}

#[test]
fn r11_a_clock_runs_on_its_partys_turns_and_grows_with_the_work_it_has_open() {
    let mut case = signed(one_row);
    let challenge = case.challenge();
    case.world.done("alice", challenge);
    let (opened, first) = (case.world.clock(), case.line(0).unwrap().due);
    assert!(first.get() > opened + 20_000);
    case.world.wait(15_000);
    let (theirs, right) = (case.theirs.clone(), case.right.clone());
    case.step(0, &theirs, &right);
    assert!(case.line(0).unwrap().due.get() > case.world.clock() + 19_000, "the other clock");
    case.step(0, &theirs, &right);
    let left = case.line(0).unwrap().due.get() - case.world.clock();
    assert!(left < 6_000, "{left} ms are left of what was not used");

    let params = Params::default();
    let reference = params.references.small;
    let more = allowance(WorkUnits::new(10_000), &reference, &params).get();
    assert_eq!(more, params.clock.get() + 3 * SECOND, "three times a second's work");
    let most = allowance(WorkUnits::MAX, &reference, &params);
    assert_eq!(most, params.clock_max);
}

#[test]
fn r11_the_time_of_an_operator_grows_with_each_open_dispute_and_never_shrinks() {
    let mut case = signed(one_row);
    let challenge = case.challenge();
    case.world.done("alice", challenge);
    let operator = operator_of("olga", 0);
    let single = load(&case.world.state, &operator).unwrap();
    let mut other = self::case(case.world, 2, one_row);
    let challenge = other.challenge();
    other.world.done("bob", challenge);
    let both = load(&other.world.state, &operator).unwrap();
    assert_eq!((both.disputes, both.peak.get()), (2, 2 * single.work.get()));
    let right = other.right.clone();
    other.finish(0, &right);
    let after = load(&other.world.state, &operator).unwrap();
    assert_eq!((after.disputes, after.work, after.peak), (1, single.work, both.peak));
}

#[test]
fn r12_who_is_silent_loses_the_line_and_a_flood_is_said_in_the_verdict() {
    let mut case = signed(one_row);
    let challenge = case.challenge();
    case.world.done("alice", challenge);
    let due = case.line(0).unwrap().due;
    let answer = case.next(0, &case.theirs).unwrap();
    case.world.wait(due.get() - case.world.clock() - 1_000);
    assert!(case.line(0).is_some());
    case.world.wait(1_000);
    let verdict = case.verdict(Some(0));
    assert_eq!((verdict.loser, verdict.cause), (Party::Defender, Cause::NoAnswer { flood: false }));
    assert_eq!(case.dispute().proven, None, "silence proves nothing");
    let unknown = Error::UnknownLine { receipt: case.receipt, line: 0 };
    let call = case.play(0, answer);
    assert_eq!(case.status("olga", call), rejected(unknown));

    // Eight open at once must be borne; the ninth is a flood, until one of them has ended.
    for open in [8, 9] {
        let mut world = signed(|_| ()).world;
        for sequence in 1..=open {
            let mut one = self::case(world, sequence, one_row);
            let challenge = one.challenge();
            one.world.done("alice", challenge);
            world = one.world;
        }
        world.wait(60_000);
        let causes: Vec<Cause> = verdicts(&world).iter().map(|verdict| verdict.cause).collect();
        let mut expected = vec![Cause::NoAnswer { flood: false }; open as usize];
        expected[0] = Cause::NoAnswer { flood: open == 9 };
        assert_eq!(causes, expected);
    }
}

#[test]
fn r13_bonds_double_with_each_open_line_and_pay_the_operators_cost_when_lost() {
    let mut case = signed(|_| ());
    let params = case.world.params().disputes;
    let cost = {
        let work = WorkUnits::new(10);
        let price = UsdNano::new(units::NANO / 10);
        defender_cost(work, &params.references.board, price, &params).unwrap()
    };
    let mut liar = case.right.clone();
    liar.faults.push((7, FINE_LEAVES - 1));
    let mut bonds = Vec::new();
    for fault in [7, 8, 9] {
        let mut liar = case.right.clone();
        liar.faults.push((fault, FINE_LEAVES - 1));
        let challenge = case.challenge_with(liar.finding());
        case.world.done("alice", challenge);
        let backer = *case.lines().last().unwrap().1.backers.first().unwrap();
        assert_eq!(backer.cost, cost);
        bonds.push(backer.bond);
    }
    let times = |factor| cost.mul_div(factor, 1, units::Rounding::Up).unwrap();
    assert_eq!(bonds, [times(20), times(40), times(80)]);
    assert_eq!(case.world.pot(Pot::DisputeBonds), times(140));
    let (owner, burned) = (case.world.balance("olga"), case.world.burned());
    let theirs = case.theirs.clone();
    case.step(0, &theirs, &theirs);
    let move_fee = params.move_fee;
    case.world.wait(120_000);
    assert_eq!(case.world.pot(Pot::DisputeBonds), Coin::ZERO);
    let gained = case.world.balance("olga").checked_add(move_fee).unwrap();
    // She answered one line in time; in the others she was silent and won nothing.
    assert_eq!(gained.checked_sub(owner).unwrap(), cost);
    let rest = times(19).checked_add(move_fee).unwrap();
    let slashed = case.world.log.iter().filter_map(|event| match event {
        AnyEvent::Verification(verification::Event::Slashed { spread, .. }) => Some(spread.burned),
        _ => None,
    });
    let rest = rest.checked_add(Coin::total(slashed).unwrap()).unwrap();
    assert_eq!(case.world.burned().checked_sub(burned).unwrap(), rest);
}

#[test]
fn r14_a_proof_closes_all_lines_and_is_kept_and_silence_closes_its_own() {
    let mut case = signed(one_row);
    let challenge = case.challenge();
    case.world.done("alice", challenge.clone());
    let mut other = case.right.clone();
    other.faults.push((9, FINE_LEAVES - 1));
    let false_one = case.challenge_with(other.finding());
    case.world.done("bob", false_one);
    let right = case.right.clone();
    let before = case.world.balance("bob");
    let bond = case.line(1).unwrap().backers.first().unwrap().bond;
    case.finish(0, &right);
    assert!(case.lines().is_empty());
    assert_eq!(case.world.balance("bob"), before.checked_add(bond).unwrap());
    let closed = case
        .world
        .last
        .events
        .iter()
        .any(|event| matches!(event, AnyEvent::Disputes(Event::Closed { line: 1, .. })));
    assert!(closed);
    assert_eq!(case.status("otto", challenge), rejected(Error::AlreadyProven));
    case.world.wait(200_000);
    assert!(case.dispute().proven.is_some(), "kept for ever");

    let mut silent = signed(|_| ());
    let mut liar = silent.right.clone();
    liar.faults.push((9, FINE_LEAVES - 1));
    let challenge = silent.challenge_with(liar.finding());
    silent.world.done("bob", challenge);
    let theirs = silent.theirs.clone();
    silent.step(0, &theirs, &liar);
    silent.world.wait(120_000);
    assert_eq!(silent.verdict(Some(0)).loser, Party::Challenger);
    assert_eq!(dispute(&silent.world.state, &silent.receipt).unwrap(), None, "forgotten");
}

/// Opens a line for alice with a bond that the caller has posted, as a higher module does.
fn posted(case: &mut Case, finding: &Finding, bond: Coin) -> Result<Option<u32>, Failure> {
    let now = case.world.now();
    let mut ctx = Context::open(Overlay::new((&case.world.state).into()), now, PORTS).unwrap();
    let (from, to) = (Purse::Account(account("alice")), Purse::Pot(Pot::DisputeBonds));
    move_coin(&mut ctx, from, to, bond)?;
    let backing = Backing::Posted(bond);
    let opened = open(&mut ctx, account("alice"), &case.subject, finding, backing)?;
    let (writes, _) = ctx.close();
    case.world.state.commit(&writes);
    case.world.check();
    Ok(opened)
}

#[test]
fn r15_a_named_challenger_has_no_window_and_no_bond_but_what_was_posted() {
    let mut case = signed(one_row);
    case.world.wait(60_000);
    let (finding, bond) = (case.right.finding(), Coin::new(7));
    assert_eq!(posted(&mut case, &finding, bond), Ok(Some(0)));
    assert_eq!(case.line(0).unwrap().backers.first().unwrap().cost, bond, "all it can lose");
    let before = case.world.balance("alice");
    assert_eq!(posted(&mut case, &finding, bond), Ok(Some(0)), "the line there is");
    assert_eq!(case.world.balance("alice"), before, "and the second bond is with the account");
    let right = case.right.clone();
    case.finish(0, &right);
    let before = case.world.balance("alice");
    assert_eq!(posted(&mut case, &finding, bond), Ok(None), "nothing is left to decide");
    assert_eq!(case.world.balance("alice"), before);
    assert_eq!(case.world.pot(Pot::DisputeBonds), Coin::ZERO);
}

#[test]
fn a_session_of_a_party_moves_and_cannot_challenge() {
    let mut case = signed(one_row);
    let far = case.world.far;
    case.world.done("olga", grant("hot", coins(1), Credit::ZERO, far));
    case.world.done("alice", grant("hot", coins(1), Credit::ZERO, far));
    let challenge = case.challenge();
    let status = case.world.send_by("alice", "hot", challenge.clone());
    assert_eq!(status, Status::Refused(crate::transaction::Error::OwnKeyNeeded.into()));
    case.world.done("alice", challenge);
    while let Some(line) = case.line(0) {
        let (name, run) = match line.phase.turn() {
            Party::Defender => ("olga", case.theirs.clone()),
            Party::Challenger => ("alice", case.right.clone()),
        };
        let play = case.next(0, &run).unwrap();
        let call = case.play(0, play);
        assert_eq!(case.world.send_by(name, "hot", call), Status::Applied);
    }
    assert_eq!(case.verdict(Some(0)).loser, Party::Defender);
}

/// Bogus challenges of the flood.
const FLOOD: usize = 1_000;

/// A false finding that no other number has.
fn bogus(right: &ToyRun, number: usize) -> ToyRun {
    let mut liar = right.clone();
    let leaves = liar.leaves();
    let pairs = (1..leaves).flat_map(|second| (0..second).map(move |first| (first, second)));
    let pairs: Vec<_> = pairs.collect();
    let (first, second) = pairs[number % pairs.len()];
    liar.faults.extend([first, second].map(|coarse| (coarse, FINE_LEAVES - 1)));
    let round = number / pairs.len();
    liar.false_outputs = (0..4).filter(|bit| (round >> bit) & 1 == 1).collect();
    liar
}

#[test]
fn a_thousand_bogus_challenges_cost_a_box_nothing_and_delay_no_honest_verdict() {
    let Case { mut world, subject, receipt, right, .. } = signed(|_| ());
    let names = sybils(&mut world, FLOOD);
    let flood: Vec<_> = (0..FLOOD)
        .map(|number| {
            let finding = bogus(&right, number).finding();
            let subject = Box::new(subject.clone());
            let call = Call::Disputes(Tx::Challenge { subject, finding });
            world.authorized(&names[number], &names[number], 0, call)
        })
        .collect();
    let before = world.balance("olga");
    world.block(&flood);
    assert!(world.last.outcomes.iter().all(|outcome| outcome.status == Status::Applied));
    let mut honest = self::case(world, 2, one_row);
    let challenge = honest.challenge();
    honest.world.done("alice", challenge);
    let opened = honest.world.clock();
    while open_count(&honest.world.state, &operator_of("olga", 0)).unwrap() > 0 {
        let block = flood_moves(&honest, &receipt, &right, &names);
        let ms = if block.is_empty() { 5_000 } else { 500 };
        honest.world.block_after(ms, &block).unwrap();
    }
    let verdict = honest.verdict(Some(0));
    assert_eq!(verdict.loser, Party::Defender);
    let bound = 2 * honest.world.params().disputes.clock.get();
    assert!(verdict.at.get() - opened < bound, "{} of {bound} ms", verdict.at.get() - opened);
    let verdicts = verdicts(&honest.world);
    let bogus = verdicts.iter().filter(|verdict| verdict.receipt == receipt);
    assert!(bogus.clone().all(|verdict| verdict.loser == Party::Challenger));
    assert_eq!(bogus.count(), FLOOD);
    let spent = |name: &String| coins(10).get() - honest.world.balance(name).get();
    let attackers = names.iter().fold(0, |sum, name| sum + spent(name));
    let victim = before.get().saturating_sub(honest.world.balance("olga").get());
    let delay = verdict.at.get() - opened;
    eprintln!("victim {victim}, attackers {attackers} billionths; verdict after {delay} ms");
    assert!(20 * victim <= attackers, "{victim} against {attackers}");
}

/// Sybils with ten coins each.
fn sybils(world: &mut World, count: usize) -> Vec<String> {
    let names: Vec<String> = (0..count).map(|number| format!("sybil {number}")).collect();
    let fund = |(ahead, name): (u64, &String)| {
        world.authorized("bob", "bob", ahead, crate::testing::transfer(name, coins(10)))
    };
    let funds: Vec<_> = (0..).zip(&names).map(fund).collect();
    world.block(&funds);
    names
}

#[test]
fn r14_sixty_four_lines_of_a_proven_receipt_close_in_a_block_and_the_rest_in_the_next() {
    let mut case = signed(one_row);
    let names = sybils(&mut case.world, 70);
    let flood = names.iter().enumerate().map(|(number, name)| {
        let call = case.challenge_with(bogus(&case.right, number).finding());
        case.world.authorized(name, name, 0, call)
    });
    let flood: Vec<_> = flood.collect();
    case.world.block(&flood);
    let challenge = case.challenge();
    case.world.done("alice", challenge);
    let right = case.right.clone();
    assert_eq!(case.finish(70, &right).loser, Party::Defender);
    assert_eq!(case.lines().len(), 6);
    case.world.block(&[]);
    assert!(case.lines().is_empty());
    assert_eq!(case.dispute().open, 0);
    let left = |name: &String| case.world.balance(name);
    assert!(names.iter().all(|name| left(name) > coins(9)), "all have their bonds back");
}

/// A move of everybody on turn: olga's, the Sybils' until nothing they have helps, alice's.
fn flood_moves(
    honest: &Case,
    receipt: &Digest,
    right: &ToyRun,
    names: &[String],
) -> Vec<crate::Authorized<crate::Transaction>> {
    let world = &honest.world;
    let record = dispute(&world.state, receipt).unwrap();
    let mut block = Vec::new();
    let mut olga = 0;
    for ((_, number), line) in world.state.scan(&LINES, receipt, usize::MAX).unwrap() {
        let liar = bogus(right, number as usize);
        let (name, run) = match line.phase.turn() {
            Party::Defender => ("olga", right),
            Party::Challenger => (names[number as usize].as_str(), &liar),
        };
        let play = next_move(record.as_ref().unwrap(), &line, line.phase.turn(), &mut run.clone());
        let Ok(play) = play else { continue };
        if matches!(play, Move::Execute { .. } | Move::Output(_)) {
            continue; // It would be rejected: nothing is wrong.
        }
        let ahead = if name == "olga" { olga } else { 0 };
        olga += u64::from(name == "olga");
        let call = Call::Disputes(Tx::Play { receipt: *receipt, line: number, play });
        block.push(world.authorized(name, name, ahead, call));
    }
    if let Some(line) = honest.line(0) {
        let (name, run) = match line.phase.turn() {
            Party::Defender => ("olga", &honest.theirs),
            Party::Challenger => ("alice", &honest.right),
        };
        let play = honest.next(0, run).unwrap();
        let ahead = if name == "olga" { olga } else { 0 };
        block.push(world.authorized(name, name, ahead, honest.play(0, play)));
    }
    block
}

#[test]
fn r4_a_finding_is_comparable_if_a_re_execution_can_have_it() {
    let case = signed(|_| {});
    let mut receipt = case.subject.receipt.message.clone();
    let finding = |n_out, finish| Finding { n_out, finish, ..case.right.finding() };
    (receipt.n_out, receipt.finish) = (4, Finish::Stop);
    assert!(is_comparable(&finding(4, Finish::Stop), &receipt));
    assert!(is_comparable(&finding(6, Finish::Length), &receipt), "it ends later");
    assert!(!is_comparable(&finding(0, Finish::Stop), &receipt), "a run has an output");
    assert!(!is_comparable(&finding(4, Finish::Cancelled), &receipt), "nobody cancels it again");
    receipt.finish = Finish::Cancelled;
    assert!(is_comparable(&finding(4, Finish::Cancelled), &receipt));
    assert!(is_comparable(&finding(3, Finish::Stop), &receipt));
    assert!(!is_comparable(&finding(3, Finish::Cancelled), &receipt), "it is run to its length");
    assert!(!is_comparable(&finding(5, Finish::Stop), &receipt), "and no further");
    (receipt.n_out, receipt.finish) = (0, Finish::Stop);
    assert!(is_comparable(&finding(0, Finish::Stop), &receipt), "an embedding has no tokens");
}

#[test]
fn r9_an_answer_ends_where_and_as_the_rule_says_or_was_cancelled() {
    let case = signed(|_| {});
    let mut receipt = case.subject.receipt.message;
    (receipt.n_out, receipt.finish) = (4, Finish::Stop);
    assert!(!ends_wrongly(&receipt, 3, None), "a run goes on as the answer does");
    assert!(ends_wrongly(&receipt, 3, Some(Finish::Stop)), "a run ends before the answer");
    assert!(!ends_wrongly(&receipt, 4, Some(Finish::Stop)));
    assert!(ends_wrongly(&receipt, 4, Some(Finish::Length)), "it ends for another reason");
    assert!(ends_wrongly(&receipt, 4, None), "a run goes on where the answer ends");
    receipt.finish = Finish::Cancelled;
    assert!(!ends_wrongly(&receipt, 4, None));
    assert!(!ends_wrongly(&receipt, 4, Some(Finish::Stop)));
    assert!(ends_wrongly(&receipt, 3, Some(Finish::Stop)), "it was over before it was cancelled");
}

proptest! {
    #[test]
    fn r11_time_grows_with_work_and_stays_within_its_bounds(work: u64, more: u64) {
        let params = Params::default();
        let of = |work| allowance(WorkUnits::new(work), &params.references.consumer, &params);
        prop_assert!(of(work) <= of(work.saturating_add(more)));
        prop_assert!((params.clock..=params.clock_max).contains(&of(work)));
    }

    #[test]
    fn r13_a_bond_covers_twenty_times_the_cost(work in 0..1_u64 << 40, open in 0_u32..80) {
        let params = Params::default();
        let reference = &params.references.workstation;
        let cost = defender_cost(WorkUnits::new(work), reference, UsdNano::new(1_000), &params);
        if let Ok(cost) = cost && let Ok(bond) = bond(cost, open, &params) {
            prop_assert!(bond.get() >= 20 * cost.get());
            let time = time_of(WorkUnits::new(work), reference).unwrap();
            prop_assert!(time <= Millis::new(work + 1));
        }
    }
}
