#![allow(clippy::unwrap_used)]

use super::*;

#[test]
fn bounds_hold_and_leaving_makes_room() {
    let connections = Connections::new(3, 2);
    let (alice, bob): (UserId, UserId) = ("alice".parse().unwrap(), "bob".parse().unwrap());
    let first = connections.enter(Some(&alice), None, Instant::now()).ok().unwrap();
    let _second = connections.enter(Some(&alice), None, Instant::now()).ok().unwrap();
    assert_eq!(connections.enter(Some(&alice), None, Instant::now()).err(), Some(LimitReached::User));
    let third = connections.enter(Some(&bob), None, Instant::now()).ok().unwrap();
    assert_eq!(connections.enter(Some(&bob), None, Instant::now()).err(), Some(LimitReached::Node));
    assert_eq!(connections.enter(None, None, Instant::now()).err(), Some(LimitReached::Node));
    assert_eq!((connections.total(), connections.users()), (3, 2));
    drop((first, third));
    assert_eq!((connections.total(), connections.users()), (1, 1));
    assert!(connections.enter(Some(&alice), None, Instant::now()).is_ok());
    let _anonymous = connections.enter(None, None, Instant::now()).ok().unwrap();
    assert_eq!((connections.total(), connections.users()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn where_a_bound_is_reached_a_device_takes_the_place_that_was_silent_for_the_longest() {
    let connections = Connections::new(4, 3);
    let (alice, bob): (UserId, UserId) = ("alice".parse().unwrap(), "bob".parse().unwrap());
    let (phone, laptop): (DeviceId, DeviceId) = ("phone".parse().unwrap(), "laptop".parse().unwrap());
    let enter = |user, device| connections.enter(Some(user), Some(device), Instant::now());
    let is_taken = |guard: &ConnectionGuard| guard.place.taken.load(Ordering::Acquire);
    let [first, second, other] = [&phone, &phone, &laptop].map(|device| enter(&alice, device).ok().unwrap());
    tokio::time::advance(std::time::Duration::from_secs(1)).await;
    first.heard();
    let third = enter(&alice, &phone).ok().unwrap();
    assert_eq!([&first, &second, &other, &third].map(is_taken), [false, true, false, false]);
    assert!(matches!(second.until_forced_end().await, ForcedEnd::Replaced));
    assert_eq!(
        connections.enter(Some(&alice), None, Instant::now()).err(),
        Some(LimitReached::User),
        "another device"
    );
    // What was taken over counts no more, also once it has ended.
    drop(second);
    assert_eq!((connections.total(), connections.users()), (3, 1));
    // The same where the node is full; another user's device of that name is another one.
    let _of_bob = enter(&bob, &laptop).ok().unwrap();
    assert_eq!(enter(&bob, &phone).err(), Some(LimitReached::Node));
    let fourth = enter(&alice, &laptop).ok().unwrap();
    assert_eq!([&first, &other, &third, &fourth].map(is_taken), [false, true, false, false]);
    drop((first, other, third, fourth));
    assert_eq!((connections.total(), connections.users()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn disconnecting_a_user_ends_what_there_is_and_counts_until_it_has_ended() {
    let connections = Connections::new(9, 2);
    let (alice, bob): (UserId, UserId) = ("alice".parse().unwrap(), "bob".parse().unwrap());
    let phone: DeviceId = "phone".parse().unwrap();
    let enter = |user| connections.enter(Some(user), Some(&phone), Instant::now()).ok().unwrap();
    let (first, second, of_bob) = (enter(&alice), enter(&alice), enter(&bob));
    let disconnect = Disconnect::from_request(alice.clone(), r#"{"reason":"first"}"#).unwrap();
    connections.disconnect(&disconnect);
    connections.disconnect(&Disconnect { reason: "second".to_owned(), ..disconnect });
    for guard in [&first, &second] {
        let end = guard.forced_end();
        assert!(
            matches!(end, Some(ForcedEnd::Disconnected { reason, .. }) if &**reason == "first"),
            "{end:?}"
        );
    }
    assert!(of_bob.forced_end().is_none());
    assert_eq!(connections.total(), 3);
    tokio::time::advance(std::time::Duration::from_millis(1)).await;
    // One that has to end already may be replaced all the same, and then counts no more.
    let third = enter(&alice);
    assert!(third.forced_end().is_none());
    assert_eq!(connections.total(), 3);
    drop((first, second, third, of_bob));
    assert_eq!((connections.total(), connections.users()), (0, 0));
}
#[tokio::test(start_paused = true)]
async fn who_was_verified_before_a_disconnect_and_has_no_place_yet_is_ended() {
    let connections = Connections::new(9, 9);
    let alice: UserId = "alice".parse().unwrap();
    let enter = |user, verified| connections.enter(user, None, verified).ok().unwrap();
    let verified = Instant::now();
    let pass = || tokio::time::advance(std::time::Duration::from_millis(1));
    pass().await;
    connections.disconnect(&Disconnect::from_request(alice.clone(), r#"{"reason":"r"}"#).unwrap());
    pass().await;
    assert!(enter(Some(&alice), verified).forced_end().is_some());
    let back = enter(Some(&alice), Instant::now());
    assert!(back.forced_end().is_none(), "it has come back");
    connections.disconnect_all();
    assert!(back.forced_end().is_some());
    assert!(enter(Some(&alice), verified).forced_end().is_some());
    assert!(enter(None, verified).forced_end().is_none(), "nobody has no rights that could have changed");
}
