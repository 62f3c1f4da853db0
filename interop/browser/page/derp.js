// DERP over WebSocket as a browser speaks it: one connection, in the page's module state.
// Bytes cross to the test as hexadecimal digits. NaCl is tweetnacl's, in the global nacl.

const magic = "44455250f09f9491"; // "DERP" and a key, in UTF-8
const serverKey = 0x01, clientInfo = 0x02, serverInfo = 0x03, sendPacket = 0x04;
const keepAlive = 0x06, ping = 0x12;
const headerLen = 5, keyLen = 32, nonceLen = 24;

let socket;
let pending = new Uint8Array(); // received and not yet a whole frame
let frames = []; // received and not yet asked for
let wanted = []; // promises of next() without a frame
let ended; // promise of the close event
let largest = 0; // bytes in one received message

const hex = (b) => Array.from(b, (v) => v.toString(16).padStart(2, "0")).join("");
const unhex = (s) => Uint8Array.from(s.match(/../g) ?? [], (v) => parseInt(v, 16));

function join(...parts) {
  const all = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const p of parts) {
    all.set(p, at);
    at += p.length;
  }
  return all;
}

// frame puts the header before a payload: type, and length in four bytes, big-endian.
function frame(type, payload) {
  const header = new Uint8Array(headerLen);
  header[0] = type;
  new DataView(header.buffer).setUint32(1, payload.length);
  return join(header, payload);
}

// receive cuts frames from the stream, whatever messages it came in.
function receive(message) {
  largest = Math.max(largest, message.length);
  pending = join(pending, message);
  while (pending.length >= headerLen) {
    const length = new DataView(pending.buffer, pending.byteOffset).getUint32(1);
    if (pending.length < headerLen + length) return;
    const type = pending[0];
    const payload = pending.slice(headerLen, headerLen + length);
    pending = pending.slice(headerLen + length);
    if (type === keepAlive) continue;
    frames.push({ type, payload: hex(payload) });
    wanted.shift()?.(frames.shift());
  }
}

// open connects and tells what the server agreed to.
export function open(url) {
  pending = new Uint8Array();
  frames = [];
  wanted = [];
  largest = 0;
  socket = new WebSocket(url, ["derp"]);
  socket.binaryType = "arraybuffer";
  socket.onmessage = (e) => receive(new Uint8Array(e.data));
  ended = new Promise((resolve) => {
    socket.onclose = (e) => {
      resolve({ code: e.code, reason: e.reason, clean: e.wasClean });
      for (const give of wanted) give({ type: -1, payload: "" });
    };
  });
  return new Promise((resolve, reject) => {
    socket.onopen = () =>
      resolve({ protocol: socket.protocol, extensions: socket.extensions });
    socket.onerror = () => reject(new Error(`${url} cannot be opened as a WebSocket`));
  });
}

// next returns the next frame that is no KeepAlive; its type is -1 when the connection ends.
export function next() {
  const first = frames.shift();
  if (first) return first;
  if (socket.readyState === WebSocket.CLOSED) return { type: -1, payload: "" };
  return new Promise((resolve) => wanted.push(resolve));
}

async function want(type) {
  const f = await next();
  if (f.type !== type) throw new Error(`frame of type ${f.type} instead of ${type}`);
  return f.payload;
}

// login waits for the server's key, proves a fresh key of its own, and opens the answer.
export async function login() {
  const greeting = await want(serverKey);
  if (!greeting.startsWith(magic)) throw new Error(`greeting ${greeting} lacks the magic`);
  const server = unhex(greeting).slice(magic.length / 2, magic.length / 2 + keyLen);
  const self = nacl.box.keyPair();

  const info = JSON.stringify({ version: 2, CanAckPings: true });
  const nonce = nacl.randomBytes(nonceLen);
  const box = nacl.box(new TextEncoder().encode(info), nonce, server, self.secretKey);
  socket.send(frame(clientInfo, join(self.publicKey, nonce, box)));

  const reply = unhex(await want(serverInfo));
  const opened = nacl.box.open(
    reply.slice(nonceLen), reply.slice(0, nonceLen), server, self.secretKey);
  if (!opened) throw new Error("the box of ServerInfo does not open");
  return {
    server: hex(server),
    self: hex(self.publicKey),
    info: JSON.parse(new TextDecoder().decode(opened)),
  };
}

// send writes packets for one destination as one stream, cut into messages of so many bytes;
// 0 makes it one message.
export function send(to, packets, cut) {
  const key = unhex(to);
  write(join(...packets.map((p) => frame(sendPacket, join(key, unhex(p))))), cut);
}

// sendPing sends eight bytes to be echoed.
export const sendPing = (data) => write(frame(ping, unhex(data)), 0);

function write(stream, cut) {
  for (let at = 0; at < stream.length; at += cut || stream.length) {
    socket.send(stream.slice(at, at + (cut || stream.length)));
  }
}

// text breaks DERP's rule that messages are binary.
export const text = (s) => socket.send(s);

// close begins the closing handshake; closed tells how the connection has ended.
export const close = (code, reason) => socket.close(code, reason);
export const closed = () => ended;

// largestMessage is how long the longest message was that the server sent.
export const largestMessage = () => largest;
