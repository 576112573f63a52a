//! What R17 sends: hostile frames, hostile JSON, hostile handshakes, and what must become of each.

/// What `max_message` is here.
pub const LARGEST: usize = 1 << 20;

/// What must become of what was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// So many events.
    Events(u64),
    /// Set aside.
    Quarantine,
    /// Nothing of it is a message; the connection goes on, or ends.
    Nothing,
}

pub struct Attack {
    pub name: String,
    pub bytes: Vec<u8>,
    pub fate: Fate,
}

/// What the next one who connects is met with.
pub enum Greeting {
    /// In the place of a handshake.
    Bytes(Vec<u8>),
    /// After the handshake a close with this code, while past messages are being asked for.
    Close(u16),
}

pub fn good(ident: &str) -> String {
    format!(r#"{{"topic":"identResult","kyc":"WEBID","identId":"{ident}","personKey":"P","reason":null,"status":"success"}}"#)
}

/// One frame from a server: not masked.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        short @ 0..=125 => bytes.push(short as u8),
        middle @ 126..=0xffff => {
            bytes.push(126);
            bytes.extend((middle as u16).to_be_bytes());
        }
        long => {
            bytes.push(127);
            bytes.extend((long as u64).to_be_bytes());
        }
    }
    bytes.extend(payload);
    bytes
}

pub fn text(payload: impl AsRef<[u8]>) -> Vec<u8> {
    frame(0x81, payload.as_ref())
}

/// The list of hostile frames and JSON; the number makes their events others than those of the round before.
pub fn attacks(number: usize) -> Vec<Attack> {
    let plain = good(&format!("attack {number}"));
    let with = |member: &str| plain.replacen('{', &format!("{{{member},"), 1);
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let attack = |name: &str, bytes, fate| Attack { name: name.to_owned(), bytes, fate };
    let bad = |name: &str, bytes: Vec<u8>| attack(name, bytes, Fate::Quarantine);
    let event = |name: &str, bytes: Vec<u8>| attack(name, bytes, Fate::Events(1));
    let nothing = |name: &str, bytes: Vec<u8>| attack(name, bytes, Fate::Nothing);
    let mut fragments = frame(0x01, b"{");
    fragments.extend((0..100_000).flat_map(|_| frame(0x00, b" ")));
    fragments.extend(frame(0x80, &plain.as_bytes()[1..]));
    let mut empty = frame(0x01, b"");
    empty.extend((0..100_000).flat_map(|_| frame(0x00, b"")));
    let mut masked = vec![0x81, 0x80 | 4, 1, 2, 3, 4];
    masked.extend(b"abcd");
    let mut announced = vec![0x81, 127];
    announced.extend((1_u64 << 62).to_be_bytes());
    let mut list = vec![
        // JSON.
        bad("no JSON", text("no JSON")),
        bad("nothing", text("")),
        bad("depth 128", text(with(&format!("\"x\":{}", nested(127))))),
        event("depth 127", text(with(&format!("\"x\":{}", nested(126))))),
        bad("a million brackets", text("[".repeat(1_000_000))),
        bad("a name twice", text(with("\"status\":\"failed\""))),
        bad("a name twice, further in", text(with("\"x\":{\"a\":1,\"a\":2}"))),
        bad("a byte order mark", text(format!("\u{feff}{plain}"))),
        event("1e400", text(with("\"x\":1e400"))),
        event("2^64", text(with("\"x\":18446744073709551616"))),
        event("30 digits", text(with("\"x\":123456789012345678901234567890"))),
        event("minus zero", text(with("\"x\":-0"))),
        bad("NaN", text(with("\"x\":NaN"))),
        bad("01", text(with("\"x\":01"))),
        bad("a comma too many", text(plain.replace('}', ",}"))),
        bad("a comment", text(plain.replace('}', "/* */}"))),
        bad("half a surrogate pair", text(with(r#""x":"\ud800""#))),
        event("NUL in a text", text(with(r#""x":"\u0000""#))),
        bad("a raw NUL", text(with("\"x\":\"\0\""))),
        bad("UTF-16", frame(0x82, &plain.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>())),
        bad("overlong UTF-8 in a binary frame", frame(0x82, b"{\"topic\":\"\xc0\xaf\"}")),
        bad("a scalar", text("7")),
        bad("null", text("null")),
        bad("a text", text("\"identResult\"")),
        bad("an array of a scalar", text("[1]")),
        bad("no topic", text("{}")),
        bad("an outcome with a name, in an array", text(r#"[{"name":"x","status":"failed","identId":"1"}]"#)),
        bad("an event among the topics", text(format!("{{\"topics\":[{plain}]}}"))),
        bad("names of topics, and a word beside them", text(r#"{"topics":["identResult"],"status":"failed"}"#)),
        bad("a method's answer with an error", text(r#"{"topic":"method","error":"no such topic"}"#)),
        bad("a topic of the wrong type", text("{\"topic\":{}}")),
        event("an unknown topic", text(format!("{{\"topic\":\"unheardOf\",\"n\":{number}}}"))),
        bad("a known topic of the wrong shape", text("{\"topic\":\"mismatches\",\"mismatches\":7}")),
        event("a key with SQL, a path and a line break", text(with(r#""'; DROP TABLE events; --\n../../etc/passwd":1"#))),
        event("a large key", text(with(&format!("\"{}\":1", "k".repeat(1_000_000))))),
        event("an attachment in base64", text(with(&format!("\"x\":\"{}\"", "QUJD".repeat(100_000))))),
        event("an attachment in no alphabet", text(with(r#""x":"===%%% ../../etc/passwd""#))),
        bad("half a million elements", text(with(&format!("\"x\":[{}1]", "1,".repeat(499_000))))),
        bad("half a million events that are none", text(format!("[{}1]", "1,".repeat(499_000)))),
        event("a hundred thousand elements", text(with(&format!("\"x\":[{}1]", "1,".repeat(99_999))))),
        event("1970", text(with("\"created\":\"1970-01-01T00:00:00Z\""))),
        event("the far future", text(with("\"created\":\"9999-12-31T23:59:59Z\""))),
        event(
            "an hour ago",
            text(with(&format!("\"created\":\"{}\"", (chrono::Utc::now() - chrono::TimeDelta::hours(1)).to_rfc3339()))),
        ),
        event("2023-02-30", text(with("\"created\":\"2023-02-30T25:61:00\""))),
        attack("ten thousand equal events", (0..10_000).flat_map(|_| text(&plain)).collect(), Fate::Events(10_000)),
        // Frames.
        event("a hundred thousand fragments", fragments),
        nothing("empty fragments without an end", empty),
        bad("larger than allowed", text("x".repeat(LARGEST + 1))),
        bad("larger than any memory, only announced", announced),
        nothing("cut in the middle", frame(0x81, plain.as_bytes())[..20].to_vec()),
        nothing("reserved bits", frame(0xf1, b"x")),
        nothing("compressed, which nobody agreed to", frame(0xc1, b"x")),
        nothing("a reserved opcode", frame(0x83, b"x")),
        nothing("masked by the server", masked),
        nothing("a continuation of nothing", frame(0x80, b"x")),
        nothing("a control frame of 126 bytes", frame(0x89, &[0; 126])),
        nothing("a control frame in pieces", frame(0x09, b"x")),
        nothing("a flood of pings", (0..50_000).flat_map(|_| frame(0x89, b"ping")).collect()),
        nothing("close 1000", frame(0x88, &1000_u16.to_be_bytes())),
        nothing("close 1006, which nobody may send", frame(0x88, &1006_u16.to_be_bytes())),
        nothing("close 1008", frame(0x88, &1008_u16.to_be_bytes())),
        nothing("close 1012", frame(0x88, &1012_u16.to_be_bytes())),
        nothing("close with half a code", frame(0x88, &[3])),
        bad("a text that is no UTF-8", frame(0x81, b"{\"topic\":\"\xff\"}")),
    ];
    list.extend(INVALID.iter().map(|value| bad(value, text(with(&format!("\"x\":{value}"))))));
    list.extend(VALID.iter().map(|value| event(value, text(with(&format!("\"x\":{value}"))))));
    list
}

/// No HTTP, other HTTP, more HTTP than anybody needs; and a close in the middle of the questions after the connect.
pub fn greetings() -> Vec<(&'static str, Greeting)> {
    let upgraded = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";
    let header = format!("X-Long: {}\r\n", "x".repeat(90));
    let bytes = |text: String| Greeting::Bytes(text.into_bytes());
    vec![
        ("another protocol", bytes("SSH-2.0-OpenSSH_9.2\r\n".to_owned())),
        ("a page", bytes("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi".to_owned())),
        ("sent elsewhere", bytes("HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\n\r\n".to_owned())),
        ("a handshake without a key", bytes(format!("{upgraded}\r\n"))),
        ("a handshake with a wrong key", bytes(format!("{upgraded}Sec-WebSocket-Accept: AAAA\r\n\r\n"))),
        ("half a handshake", bytes(upgraded[..30].to_owned())),
        ("a hundred thousand headers", bytes(format!("{upgraded}{}\r\n", header.repeat(100_000)))),
        ("a header of ten million bytes", bytes(format!("{upgraded}X-Long: {}", "x".repeat(10_000_000)))),
        ("close 1000 amid the questions", Greeting::Close(1000)),
        ("close 1006 amid the questions", Greeting::Close(1006)),
        ("close 1008 amid the questions", Greeting::Close(1008)),
        ("close 1012 amid the questions", Greeting::Close(1012)),
    ]
}

/// Values that no JSON has, after the JSON test suite.
const INVALID: [&str; 62] = [
    "[1,]",
    "[,1]",
    "[1,,2]",
    "[\"x\"",
    "[1",
    "[\"\":1]",
    "[1 true]",
    "[-]",
    "[+1]",
    "[1.]",
    "[.5]",
    "[1e]",
    "[1e+]",
    "[1eE2]",
    "[0x1]",
    "[1_000]",
    "[Infinity]",
    "[-Infinity]",
    "[-NaN]",
    "[- 1]",
    "[-01]",
    "[012]",
    "[1.2.3]",
    "[0e]",
    "[0.e1]",
    "[2.e3]",
    "[1e1.5]",
    "[--1]",
    "[tru]",
    "[True]",
    "[nul]",
    "[undefined]",
    "['x']",
    "[\"\\x\"]",
    "[\"\\u12\"]",
    "[\"\\u12G4\"]",
    "[\"a\tb\"]",
    "[\"a\nb\"]",
    "[\"\\\"]",
    "[\"\"x]",
    "[\"\\ud800\"]",
    "[\"\\ud800\\ud800\"]",
    "[\"\\udc00\"]",
    "[\"\\ud800x\"]",
    "{\"a\"}",
    "{\"a\":}",
    "{:1}",
    "{a:1}",
    "{\"a\" 1}",
    "{\"a\":1,}",
    "{\"a\":1 \"b\":2}",
    "{\"a\":1}}",
    "{null:1}",
    "{1:1}",
    "{'a':1}",
    "{\"a\":1,,\"b\":2}",
    "[1]]",
    "[1:2]",
    "[\u{c}1]",
    "[\u{a0}1]",
    "[\u{feff}1]",
    "*",
];

/// Values that JSON has, however odd.
const VALID: [&str; 34] = [
    "[]",
    "{}",
    "[null]",
    "[true,false]",
    "0",
    "-0",
    "-0.0",
    "0.1",
    "1.0",
    "1e10",
    "1E+2",
    "1e-2",
    "123.456e78",
    "-1e-400",
    "1e-500",
    "-9223372036854775808",
    "9223372036854775807",
    "0.00000000000000000000000000000000000000000000000000000001",
    "[ 1 ,\t2\r\n]",
    "{\"\":0}",
    "{\"\\u0000\":1}",
    "\"\\u0061\"",
    "\"\\ud834\\udd1e\"",
    "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
    "\"\u{20ac}\u{1d11e}\"",
    "\"\\u2028\"",
    "\"\u{2028}\"",
    "\"\\uffff\"",
    "\" \"",
    "\"\"",
    "\"a/*b*/c\"",
    "\"\u{7f}\"",
    "[[[[]]]]",
    "{\"a\":{\"a\":{\"a\":1}}}",
];
