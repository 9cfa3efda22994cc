use futures_util::{SinkExt, StreamExt};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        protocol::{CloseFrame, Role},
    },
};

use super::*;
use crate::frame::Kind;

const MAX: usize = 1 << 20;

/// Far longer than anything here takes.
const DEADLINE: Duration = Duration::from_secs(20);

/// Both ends of a connection, with buffers so small that they fill soon.
async fn connection() -> (Socket, TcpStream) {
    let listener = TcpSocket::new_v4().unwrap();
    listener.set_send_buffer_size(8 * 1024).unwrap();
    listener.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener: TcpListener = listener.listen(1).unwrap();
    let client = TcpSocket::new_v4().unwrap();
    client.set_recv_buffer_size(8 * 1024).unwrap();
    let address = listener.local_addr().unwrap();
    let (client, accepted) = tokio::join!(client.connect(address), listener.accept());
    let (server, _) = accepted.unwrap();
    (Socket::new(server, &[], Deflate::OFF, MAX), client.unwrap())
}

/// With another implementation at the client's end.
async fn with_client() -> (Socket, WebSocketStream<TcpStream>) {
    let (socket, client) = connection().await;
    (socket, WebSocketStream::from_raw_socket(client, Role::Client, None).await)
}

/// A client's frame with a mask of zeros.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    [&[first, 0x80 | u8::try_from(payload.len()).unwrap(), 0, 0, 0, 0], payload].concat()
}

fn text(text: &str) -> Bytes {
    frame::message(Kind::Text, text.as_bytes())
}

#[test]
fn an_idle_connection_is_small() {
    assert!(size_of::<Socket>() <= 192, "{}", size_of::<Socket>());
    assert!(size_of::<Received>() <= 40);
}

#[tokio::test]
async fn waiting_takes_little_room() {
    let (mut socket, _client) = connection().await;
    let waiting = size_of_val(&socket.receive());
    assert!(waiting <= 200, "{waiting}");
    let sending = size_of_val(&socket.send(&mut Vec::new(), DEADLINE));
    assert!(sending <= 500, "{sending}");
    let closing = size_of_val(&socket.close(1000, "", DEADLINE));
    assert!(closing <= 600, "{closing}");
}

#[tokio::test]
async fn messages_go_both_ways() {
    let (mut socket, mut client) = with_client().await;
    client.send("hello".into()).await.unwrap();
    client.send(Message::Binary(Bytes::from_static(b"\xff"))).await.unwrap();
    assert_eq!(socket.receive().await, Ok(Received::Text("hello".to_owned())));
    assert_eq!(socket.receive().await, Ok(Received::Binary(Bytes::from_static(b"\xff"))));
    let mut frames: Vec<Bytes> = (0..200).map(|number| text(&format!("message {number}"))).collect();
    socket.send(&mut frames, DEADLINE).await.unwrap();
    assert!(frames.is_empty());
    for number in 0..200 {
        assert_eq!(client.next().await.unwrap().unwrap(), Message::text(format!("message {number}")));
    }
}

#[tokio::test]
async fn messages_that_came_together_are_given_out_one_by_one() {
    let (mut socket, mut client) = connection().await;
    let all: Vec<u8> = (0..100).flat_map(|number| masked(0x81, format!("{number}").as_bytes())).collect();
    client.write_all(&all).await.unwrap();
    for number in 0..100 {
        assert_eq!(socket.receive().await, Ok(Received::Text(number.to_string())));
    }
    // Nothing is kept of what was read.
    assert_eq!((socket.unread.len(), socket.owed.is_none()), (0, true));
}

#[tokio::test]
async fn what_came_behind_the_handshake_is_read() {
    let (socket, mut client) = connection().await;
    let message = masked(0x81, b"early");
    let mut socket = Socket::new(socket.stream, &message[..3], Deflate::OFF, MAX);
    client.write_all(&message[3..]).await.unwrap();
    assert_eq!(socket.receive().await, Ok(Received::Text("early".to_owned())));
}

#[tokio::test]
async fn pings_are_answered_and_pongs_given_out() {
    let (mut socket, mut client) = with_client().await;
    client.send(Message::Ping(Bytes::from_static(b"there?"))).await.unwrap();
    assert_eq!(socket.receive().await, Ok(Received::Alive));
    assert_eq!(client.next().await.unwrap().unwrap(), Message::Pong(Bytes::from_static(b"there?")));
    socket.ping(b"and you?", DEADLINE).await.unwrap();
    assert_eq!(client.next().await.unwrap().unwrap(), Message::Ping(Bytes::from_static(b"and you?")));
    // The client answers when it is used next.
    client.flush().await.unwrap();
    assert_eq!(socket.receive().await, Ok(Received::Pong(Bytes::from_static(b"and you?"))));
}

#[tokio::test]
async fn the_last_of_many_pings_is_answered_once_there_is_room() {
    let (mut socket, mut client) = connection().await;
    let filled = fill(&mut socket).await;
    for number in 0..100u8 {
        client.write_all(&masked(0x89, &[number])).await.unwrap();
        assert_eq!(socket.receive().await, Ok(Received::Alive));
    }
    let mut sent = filled.to_vec();
    sent.extend(frame::pong(&[99]));
    let mut got = vec![0; sent.len()];
    let read = async {
        client.read_exact(&mut got).await.unwrap();
        client
    };
    // Receiving is what sends it.
    let client = tokio::select! {
        client = read => client,
        received = socket.receive() => panic!("{received:?}"),
    };
    assert!(got == sent, "the pong is behind the whole of the frame that was begun");
    drop(client);
}

/// Sends one frame that the kernel does not take all of, and gives up. Returns the frame.
async fn fill(socket: &mut Socket) -> Bytes {
    let large = frame::message(Kind::Binary, &vec![7; 8 << 20]);
    let mut frames = vec![large.clone()];
    assert_eq!(socket.send(&mut frames, Duration::from_millis(50)).await, Err(Ended::Stalled));
    assert!(frames.is_empty() && socket.owed.is_some());
    large
}

#[tokio::test]
async fn a_client_that_does_not_read_is_stalled_and_can_go_on() {
    let (mut socket, mut client) = connection().await;
    let large = fill(&mut socket).await;
    // What was cut off goes on, whoever sends next.
    let mut frames = vec![text("behind it")];
    let mut got = vec![0; large.len() + frames[0].len()];
    let expected = [&large[..], &frames[0]].concat();
    let (sent, read) = tokio::join!(socket.send(&mut frames, DEADLINE), client.read_exact(&mut got));
    sent.unwrap();
    read.unwrap();
    assert!(got == expected);
}

#[tokio::test]
async fn frames_that_were_not_begun_stay_with_the_caller() {
    let (mut socket, mut client) = connection().await;
    let all: Vec<Bytes> = (0..300u32)
        .map(|number| frame::message(Kind::Binary, &number.to_be_bytes().repeat(20_000)))
        .collect();
    let mut frames = all.clone();
    // Cut off at any moment, it goes on where it was.
    let reading = tokio::spawn(async move {
        let mut got = Vec::new();
        client.read_to_end(&mut got).await.unwrap();
        got
    });
    while !frames.is_empty() || socket.owed.is_some() {
        let _ = timeout(Duration::from_micros(200), socket.send(&mut frames, DEADLINE)).await;
    }
    drop(socket);
    assert!(reading.await.unwrap() == all.concat());
}

#[tokio::test]
async fn a_close_of_the_client_is_answered_with_its_code() {
    let (mut socket, mut client) = with_client().await;
    client.close(Some(CloseFrame { code: 4001.into(), reason: "bye".into() })).await.unwrap();
    assert_eq!(socket.receive().await, Err(Ended::Gone));
    assert_eq!(socket.receive().await, Err(Ended::Gone));
    assert_eq!(socket.send(&mut vec![text("too late")], DEADLINE).await, Err(Ended::Gone));
    match client.next().await.unwrap().unwrap() {
        Message::Close(Some(frame)) => assert_eq!((u16::from(frame.code), frame.reason.as_str()), (4001, "")),
        other => panic!("{other}"),
    }
    let (end, ()) = tokio::join!(client.next(), socket.part());
    assert!(end.is_none());
}

#[tokio::test]
async fn a_close_without_a_code_is_answered_without_one() {
    let (mut socket, mut client) = connection().await;
    client.write_all(&masked(0x88, b"")).await.unwrap();
    // What comes behind it is not looked at, and does not get in the way of the answer.
    client.write_all(&[0xff; 1000]).await.unwrap();
    assert_eq!(socket.receive().await, Err(Ended::Gone));
    let ((), got) = tokio::join!(socket.part(), async {
        let mut got = Vec::new();
        client.read_to_end(&mut got).await.unwrap();
        // Only then the server can know that nothing more comes.
        drop(client);
        got
    });
    assert_eq!(got, frame::close(None));
}

#[tokio::test]
async fn a_close_of_ours_waits_for_the_client() {
    let (socket, mut client) = with_client().await;
    // These are on their way before the client knows.
    for _ in 0..10 {
        client.send("late".into()).await.unwrap();
    }
    let (seen, ()) = tokio::join!(
        async {
            let seen = client.next().await.unwrap().unwrap();
            assert!(client.next().await.is_none());
            seen
        },
        socket.close(4429, "too many", DEADLINE)
    );
    match seen {
        Message::Close(Some(frame)) => {
            assert_eq!((u16::from(frame.code), frame.reason.as_str()), (4429, "too many"));
        }
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_close_is_not_waited_for_longer_than_that() {
    let (mut socket, _client) = connection().await;
    fill(&mut socket).await;
    socket.close(1000, "", Duration::from_millis(20)).await;
    let (socket, _client) = connection().await;
    socket.close(1000, "", Duration::from_millis(20)).await;
}

#[tokio::test]
async fn a_client_that_closes_and_does_not_go_is_not_waited_for() {
    let (mut socket, mut client) = connection().await;
    let filled = fill(&mut socket).await;
    client.write_all(&masked(0x88, b"")).await.unwrap();
    assert_eq!(socket.receive().await, Err(Ended::Gone));
    // It reads nothing, so the answer never goes out whole.
    socket.part().await;
    let mut got = Vec::new();
    let _ = client.read_to_end(&mut got).await;
    assert!(got.len() < filled.len());
}

#[tokio::test]
async fn nonsense_is_told_once_and_the_reason_arrives() {
    let (mut socket, mut client) = connection().await;
    let nonsense = [masked(0x81, b"fine"), vec![0x81, 0x01, b'?'], vec![0xaa; 300_000]].concat();
    let (mut from_server, mut to_server) = client.split();
    let writing = async {
        // The server does not wait for the end of it.
        let _ = to_server.write_all(&nonsense).await;
    };
    let serving = async {
        assert_eq!(socket.receive().await, Ok(Received::Text("fine".to_owned())));
        assert_eq!(socket.receive().await, Err(Ended::Violation(Violation::Unmasked)));
        assert_eq!(socket.receive().await, Err(Ended::Gone));
        socket.close(Violation::Unmasked.code(), "unmasked", DEADLINE).await;
    };
    let mut got = Vec::new();
    let ((), (), read) = tokio::join!(writing, serving, from_server.read_to_end(&mut got));
    read.unwrap();
    assert_eq!(got, frame::close(Some((1002, "unmasked"))));
}

#[tokio::test]
async fn a_connection_that_breaks_is_gone() {
    let (mut socket, client) = connection().await;
    drop(client);
    assert_eq!(socket.receive().await, Err(Ended::Gone));
    let (mut socket, mut client) = connection().await;
    client.write_all(&masked(0x81, b"half")[..5]).await.unwrap();
    drop(client);
    assert_eq!(socket.receive().await, Err(Ended::Gone));
}

#[tokio::test]
async fn a_client_that_never_pauses_does_not_keep_the_thread() {
    let (mut socket, mut client) = connection().await;
    let flood = masked(0x02, b"").into_iter().chain(masked(0x00, b"").repeat(5000)).collect::<Vec<_>>();
    let flooding = tokio::spawn(async move {
        // Of a message that never ends, on a thread that both share.
        let _ = client.write_all(&flood).await;
        loop {
            if client.write_all(&masked(0x00, b"").repeat(5000)).await.is_err() {
                return;
            }
        }
    });
    let others = async {
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        received = socket.receive() => panic!("{received:?}"),
        () = others => {}
    }
    flooding.abort();
}
