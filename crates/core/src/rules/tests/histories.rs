//! Histories: when a rule would have fired in one, and what must hold in all of them.

use super::*;
use proptest::prelude::*;

#[test]
fn a_history_says_when_a_rule_would_have_fired() {
    let mut world = World::new(rule(unreachable_for(60), RESUMES));
    let well = world.map().clone();
    let down = |seconds| MapFacts { destination: Reach::Down { since: at(seconds) }, ..well.clone() };
    let up = |seconds| MapFacts { destination: Reach::Up { since: at(seconds) }, ..well.clone() };
    let became = |seconds, facts| Moment { at: at(seconds), map: "a".into(), told: Told::Became(facts) };
    let history = [
        became(0, up(0)),
        became(1_000, down(1_000)),
        became(5_000, up(5_000)),
        became(8_000, down(8_000)),
        became(8_030, up(8_030)),
        became(9_000, down(9_000)),
    ];
    let fired = |rule: &Rule, until| -> Vec<u64> {
        would_have_fired(rule, &history, at(until)).iter().map(|f| f.at.since(START).as_secs()).collect()
    };
    assert_eq!(fired(&world.rule, 9_500), [1_060, 9_060]);
    let by_hand = rule(unreachable_for(60), RuleAction::Pause(ResumeBy::Hand));
    assert_eq!(fired(&by_hand, 9_500), [1_060, 9_060]);
    let stops = Rule { enabled: false, ..rule(unreachable_for(60), RuleAction::Stop) };
    assert_eq!(fired(&stops, 9_500), [1_060, 9_060]);
    let tells = rule(unreachable_for(60), RuleAction::Nothing);
    assert_eq!(fired(&tells, 3_000), [1_060, 1_960, 2_860], "it reminds once per cool-down");
    let fail = |seconds| Moment {
        at: at(seconds),
        map: "a".into(),
        told: Told::Happened(Observed::Failed { class: FaultClass::Application }),
    };
    let failing = [became(0, up(0)), fail(10), fail(20), fail(500), fail(505)];
    let twice = would_have_fired(&rule(errors(2, 15), RuleAction::Stop), &failing, at(1_000));
    assert_eq!(twice.iter().map(|f| f.at).collect::<Vec<_>>(), [at(20)], "then comes the cool-down");
    let long = would_have_fired(&tells, &history, at(86_400 * 365));
    assert!(!long.is_empty(), "a year is looked through as well");
}
/// What may happen to a map, in any order.
#[derive(Debug, Clone)]
enum Step {
    Wait(u64),
    Seen(usize, Observed),
    Destination(usize, bool),
    Full(usize, u64),
    Held(usize, Hold),
    ResumedByHand(usize),
    LimitBlocks(usize, bool),
    Restart,
    Enabled(bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let map = 0..2_usize;
    let step = prop_oneof![
        6 => (1..400_u64).prop_map(Step::Wait),
        4 => (map.clone(), 1..5_u64).prop_map(|(map, records)| Step::Seen(map, Observed::Applied { records })),
        6 => map.clone().prop_map(|map| Step::Seen(map, Observed::Failed { class: FaultClass::Application })),
        6 => (map.clone(), any::<bool>()).prop_map(|(map, up)| Step::Destination(map, up)),
        2 => (map.clone(), 0..1_200_u64).prop_map(|(map, used)| Step::Full(map, used)),
        1 => (map.clone(), prop::sample::select(vec![Hold::User, Hold::Limit, Hold::Rule("other".into())]))
            .prop_map(|(map, hold)| Step::Held(map, hold)),
        2 => map.clone().prop_map(Step::ResumedByHand),
        1 => (map, any::<bool>()).prop_map(|(map, blocks)| Step::LimitBlocks(map, blocks)),
        1 => Just(Step::Restart),
        1 => prop::bool::weighted(0.8).prop_map(Step::Enabled),
    ];
    prop::collection::vec(step, 1..150)
}

fn rules() -> impl Strategy<Value = Rule> {
    let when = prop::sample::select(vec![
        unreachable_for(10),
        errors(2, 120),
        When::FailedShare { ratio: Share::percent(50), of_last: 4 },
        When::QueueFull(Share::percent(90)),
        When::Schedule(Schedule {
            days: Days::ALL,
            start_minute: 22 * 60 + 20,
            lasting: MINUTE * 30,
            zone: Zone::utc(),
        }),
    ]);
    let action = prop::sample::select(vec![
        RuleAction::Nothing,
        RuleAction::Pause(ResumeBy::Hand),
        RuleAction::Pause(ResumeBy::Rule { per_hour: 1 }),
        RESUMES,
    ]);
    (when, action, 0..1_000_u64).prop_map(|(when, action, cooldown)| Rule {
        cooldown: Duration::from_secs(cooldown),
        ..rule(when, action)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn no_history_makes_a_rule_break_its_word(mut rule in rules(), steps in steps()) {
        let names: [MapName; 2] = ["a".into(), "b".into()];
        let mut facts = BTreeMap::new();
        for name in &names {
            facts.insert(name.clone(), World::new(rule.clone()).facts[&"a".into()].clone());
        }
        let mut state = RuleState::new(&rule);
        let mut now = START;
        let mut fired: BTreeMap<MapName, WallTime> = BTreeMap::new();
        let mut lifted: BTreeMap<MapName, Vec<WallTime>> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Wait(seconds) => now = now.plus(Duration::from_secs(seconds)),
                Step::Seen(map, seen) => state.observe(&rule, &names[map], seen, now),
                Step::Destination(map, up) => {
                    let reach = if up { Reach::Up { since: now } } else { Reach::Down { since: now } };
                    facts.get_mut(&names[map]).unwrap().destination = reach;
                }
                Step::Full(map, used) => {
                    facts.get_mut(&names[map]).unwrap().full = Some(Fullness { used, max: 1_000 });
                }
                Step::Held(map, hold) => {
                    facts.get_mut(&names[map]).unwrap().holds.insert(hold);
                }
                Step::ResumedByHand(map) => {
                    facts.get_mut(&names[map]).unwrap().holds.clear();
                }
                Step::LimitBlocks(map, blocks) => facts.get_mut(&names[map]).unwrap().limit_blocks = blocks,
                Step::Restart => state = stored(&state),
                Step::Enabled(enabled) => rule.enabled = enabled,
            }
            for facts in facts.values_mut() {
                facts.phase = if facts.holds.is_empty() { Phase::Running } else { Phase::Paused };
            }
            let own = Hold::Rule(rule.name.clone());
            for effect in state.tick(&rule, &facts, now) {
                match effect {
                    RuleEffect::Hold { map, .. } => {
                        prop_assert!(rule.enabled);
                        prop_assert!(matches!(rule.then.action, RuleAction::Pause(_)));
                        prop_assert!(facts.get_mut(&map).unwrap().holds.insert(own.clone()), "held already");
                        facts.get_mut(&map).unwrap().phase = Phase::Paused;
                    }
                    RuleEffect::Resume { map } | RuleEffect::Withdraw { map }
                        if facts[&map].limit_blocks || facts[&map].holds.contains(&Hold::Limit) =>
                    {
                        prop_assert!(false, "{} was resumed against a limit", map);
                    }
                    RuleEffect::Resume { map } => {
                        prop_assert_eq!(&facts[&map].holds, &BTreeSet::from([own.clone()]));
                        let up = matches!(facts[&map].destination, Reach::Up { since } if now.since(since) >= SETTLE_MIN);
                        prop_assert!(up && rule.enabled);
                        facts.get_mut(&map).unwrap().holds.clear();
                        lifted.entry(map).or_default().push(now);
                    }
                    RuleEffect::Withdraw { map } => {
                        prop_assert!(facts[&map].holds.len() > 1);
                        prop_assert!(facts.get_mut(&map).unwrap().holds.remove(&own));
                        lifted.entry(map).or_default().push(now);
                    }
                    RuleEffect::Stop { .. } => prop_assert!(false, "it was never told to stop anything"),
                    RuleEffect::Notify(Notice { news: News::Fired(_, maps), .. }) => {
                        prop_assert!(!maps.is_empty());
                        for (map, _) in maps {
                            if let Some(before) = fired.insert(map.clone(), now) {
                                prop_assert!(now.since(before) >= rule.cooldown, "twice within the cool-down");
                            }
                        }
                    }
                    RuleEffect::Notify(Notice { news: News::Resumed(maps), .. }) => prop_assert!(!maps.is_empty()),
                    RuleEffect::Notify(other) => prop_assert!(false, "no rule tells that: {:?}", other),
                }
            }
            let cap = match rule.then.action {
                RuleAction::Pause(ResumeBy::Rule { per_hour }) => per_hour as usize,
                _ => 0,
            };
            for times in lifted.values() {
                let recent = times.iter().filter(|at| now.since(**at) < MINUTE * 60).count();
                prop_assert!(recent <= cap, "{} resumes within an hour", recent);
            }
        }
    }
}
