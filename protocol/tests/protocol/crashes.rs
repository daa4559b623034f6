//! A crash at every point where something is recorded, at every party. The network here loses
//! nothing; crashes do.

use std::collections::VecDeque;
use std::time::Duration;

use collegium_protocol::MemberIndex;
use collegium_protocol::message::session::ToNode;
use collegium_protocol::step::Event;

use crate::support::{Coordinator, Node, Outcome, Sends, Up, World, totals};

const NOW: Duration = Duration::from_secs(1);

/// Who crashes, and after how many of its actions.
#[derive(Debug, Clone, Copy)]
enum Crash {
    Nobody,
    Node(usize, usize),
    Coordinator(usize),
}

struct Net {
    down: VecDeque<(MemberIndex, ToNode)>,
    up: VecDeque<(MemberIndex, Up)>,
}

/// Runs one ask to its end through one crash; gives the steps it took and the actions of whom we
/// count.
fn run(world: &World, crash: Crash) -> (u64, usize) {
    let (mut nodes, mut coordinator) = (world.nodes(), Coordinator::new(world));
    let mut fuel = usize::MAX;
    let mut node_fuel = usize::MAX;
    match crash {
        Crash::Coordinator(after) => fuel = after,
        Crash::Node(_, after) => node_fuel = after,
        Crash::Nobody => {}
    }
    let mut net = Net {
        down: VecDeque::new(),
        up: VecDeque::new(),
    };
    let begun = coordinator.begin(b"ask", NOW, &mut fuel);
    net.down.extend(begun);
    let counted = |fuel: usize, node_fuel: usize| match crash {
        Crash::Coordinator(after) => after.saturating_sub(fuel),
        Crash::Node(_, after) => after.saturating_sub(node_fuel),
        Crash::Nobody => 0,
    };
    for _ in 0..10_000 {
        if matches!(crash, Crash::Coordinator(_)) && fuel == 0 {
            fuel = usize::MAX;
            recover(world, &mut coordinator, &mut nodes, &mut net);
        }
        if let Crash::Node(which, _) = crash
            && node_fuel == 0
        {
            node_fuel = usize::MAX;
            let member = nodes[which].index();
            nodes[which].restart();
            net.down.retain(|(to, _)| *to != member);
            net.up.retain(|(from, _)| *from != member);
            let gone = coordinator.handle(Event::Disconnected(member), NOW, &mut fuel);
            net.down.extend(gone);
            let back = coordinator.handle(Event::Connected(member), NOW, &mut fuel);
            net.down.extend(back);
        }
        match coordinator.outcome.take() {
            Some(Outcome::Totals {
                step,
                contributors,
                sums,
            }) => {
                assert_eq!(sums, totals(&contributors, b"ask"), "{crash:?}");
                return (step.0, counted(fuel, node_fuel));
            }
            Some(Outcome::Dropped(dropped)) => {
                coordinator
                    .attempts
                    .dropped(&dropped, &world.charter)
                    .unwrap();
                net.down.clear();
                net.up.clear();
                let begun = coordinator.begin(b"ask", NOW, &mut fuel);
                net.down.extend(begun);
            }
            Some(Outcome::Failed(failure)) => panic!("{crash:?}: {failure}"),
            None => deliver(
                &mut nodes,
                &mut coordinator,
                &mut net,
                crash,
                &mut fuel,
                &mut node_fuel,
            ),
        }
    }
    panic!("{crash:?}: stuck");
}

fn deliver(
    nodes: &mut [Node],
    coordinator: &mut Coordinator,
    net: &mut Net,
    crash: Crash,
    fuel: &mut usize,
    node_fuel: &mut usize,
) {
    if let Some((to, message)) = net.down.pop_front() {
        let mut endless = usize::MAX;
        let fuel = match crash {
            Crash::Node(which, _) if which == to.position() => node_fuel,
            _ => &mut endless,
        };
        let sent = nodes[to.position()].receive(&message, fuel);
        net.up.extend(sent.into_iter().map(|up| (to, up)));
    } else if let Some((from, up)) = net.up.pop_front() {
        let sends = coordinator.receive(from, up, NOW, fuel);
        net.down.extend(sends);
    } else {
        // Waiting is over.
        let later = NOW + Duration::from_secs(10_000);
        let sends = coordinator.handle(Event::Tick, later, fuel);
        net.down.extend(sends);
    }
}

/// A new coordinator process: everybody dials again.
fn recover(world: &World, coordinator: &mut Coordinator, nodes: &mut [Node], net: &mut Net) {
    net.down.clear();
    net.up.clear();
    let mut endless = usize::MAX;
    let driving: Option<Sends> = coordinator.restart();
    if let Some(sends) = driving {
        net.down.extend(sends);
        for node in nodes.iter() {
            let sends = coordinator.handle(Event::Connected(node.index()), NOW, &mut endless);
            net.down.extend(sends);
        }
    } else if coordinator.outcome.is_none() {
        coordinator.connected = world.members().into_iter().collect();
        let sends = coordinator.begin(b"ask", NOW, &mut endless);
        net.down.extend(sends);
    }
}

#[test]
fn the_coordinator_may_crash_after_each_of_its_actions() {
    let world = World::new(4, 500);
    assert_eq!(run(&world, Crash::Nobody).0, 1);
    // A crash point beyond the last action never happens and shows how many there are.
    let (_, actions) = run(&world, Crash::Coordinator(100_000));
    assert!(actions > 30, "only {actions} actions");
    let mut steps = Vec::new();
    for after in 1..actions {
        steps.push(run(&world, Crash::Coordinator(after)).0);
    }
    // Before the certificate the ask is put again, after it the step itself goes on.
    let certified = steps.iter().rposition(|step| *step == 2).unwrap() + 1;
    assert!(
        steps[..certified].iter().all(|step| *step == 2),
        "{steps:?}"
    );
    assert!(
        steps.len() > certified && steps[certified..].iter().all(|step| *step == 1),
        "{steps:?}"
    );
}

#[test]
fn a_member_may_crash_after_each_of_its_actions() {
    let world = World::new(4, 501);
    for which in [0, 3] {
        let (_, actions) = run(&world, Crash::Node(which, 100_000));
        assert!(actions >= 10, "only {actions} actions");
        for after in 1..=actions {
            let (step, _) = run(&world, Crash::Node(which, after));
            assert!(step <= 2, "{step} steps after a crash at action {after}");
        }
    }
}
