"use strict";
/*
 * A websocket listener for tests: Debian's node-ws does the protocol, this
 * file only says what happens to a message. Options, output and promise are
 * those of ws_server.py: a message is in the file before anything behind it is
 * read, and so before a ping behind it is answered.
 */

const fs = require("fs");
const { parseArgs } = require("util");
const { WebSocketServer } = require("ws");

const MAX_BYTES = 2 ** 25;

const args = parseArgs({
	options: {
		port: { type: "string", default: "0" },
		out: { type: "string", default: "/dev/stdout" },
		notes: { type: "string", default: "/dev/null" },
		"app-ack": { type: "boolean", default: false },
		"close-after": { type: "string", default: "0" },
		"close-code": { type: "string", default: "1001" },
		ping: { type: "string", default: "20" },
	},
}).values;

/* kill -9 can end a write between two pages of the file. */
function cutHalfLine(path) {
	if (fs.statSync(path, { throwIfNoEntry: false })?.isFile())
		fs.truncateSync(
		    path, fs.readFileSync(path).lastIndexOf("\n") + 1);
}

function writeAll(fd, bytes) {
	for (let at = 0; at < bytes.length;)
		at += fs.writeSync(fd, bytes, at);
}

cutHalfLine(args.out);
const out = fs.openSync(args.out, "a", 0o600);
const notes = fs.openSync(args.notes, "a", 0o600);
const newline = Buffer.from("\n");

const server = new WebSocketServer({
	host: "127.0.0.1",
	port: Number(args.port),
	maxPayload: MAX_BYTES,
	perMessageDeflate: false,
});

server.on("connection", (connection) => {
	const pings = setInterval(
	    () => connection.ping(), 1000 * Number(args.ping));
	let count = 0;

	fs.writeSync(notes, "connect\n");
	connection.on("ping", () => fs.writeSync(notes, "ping\n"));
	connection.on("pong", () => fs.writeSync(notes, "pong\n"));
	connection.on("error", (error) => console.error(error.message));
	connection.on("close", () => clearInterval(pings));
	connection.on("message", (message) => {
		writeAll(out, Buffer.concat([message, newline]));
		count++;
		if (args["app-ack"])
			connection.send(JSON.stringify({ ack: count }));
		if (count === Number(args["close-after"]))
			connection.close(Number(args["close-code"]), "as told");
	});
});

server.on("listening",
    () => console.log("port", server.address().port));
