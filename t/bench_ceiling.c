/*
 * The ceiling: four bare processes that do only what no pipeline of this kind
 * can leave out. A source writes length-prefixed events to a socketpair; a log
 * reads them, puts length and checksum before each, appends the batch to a file
 * of zeros, syncs it, and only then gives the events on; a sink masks each into
 * a websocket frame for loopback TCP; a server unmasks and counts. Nothing is
 * parsed, kept, acknowledged or read back, and nothing can be recovered.
 *
 * What a pipeline does in the same run on the same machine is set against it.
 */
#include "stage/bytes.h"
#include "t/bench_tools.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <xxhash.h>

/* Read or written at a time, and the size of a batch at most. */
#define PIECE_BYTES ((size_t)1 << 20)
#define PREFIX_BYTES ((size_t)4)
#define RECORD_BYTES ((size_t)8)
#define FILE_BYTES ((uint64_t)16 << 20)
#define MASKS_BYTES ((size_t)4096)
#define MAX_EVENT_BYTES 65535

static uint64_t events = 1000000;
static size_t event_bytes = 120;
static const char *file_name = "ceiling.tmp";

/* What is read and not used yet. */
struct input {
	int fd;
	uint8_t *data;
	size_t start, end, room;
};

static struct input
open_input(int fd)
{
	struct input in = {.fd = fd, .room = 2 * PIECE_BYTES};

	in.data = malloc(in.room);
	if (in.data == NULL)
		bench_die("malloc");
	return in;
}

/* Reads once what is there, up to a piece. Returns false at the end. */
static bool
fill(struct input *in)
{
	ssize_t n;

	memmove(in->data, in->data + in->start, in->end - in->start);
	in->end -= in->start;
	in->start = 0;
	do
		n = read(in->fd, in->data + in->end, PIECE_BYTES);
	while (n == -1 && errno == EINTR);
	if (n == -1)
		bench_die("read");
	in->end += (size_t)n;
	return n > 0;
}

/* Returns the event at the front and passes it, or NULL if it is not whole. */
static const uint8_t *
next_event(struct input *in, size_t *bytes)
{
	const uint8_t *at = in->data + in->start;
	size_t left = in->end - in->start;

	if (left < PREFIX_BYTES || left - PREFIX_BYTES < get_be32(at))
		return NULL;
	*bytes = get_be32(at);
	in->start += PREFIX_BYTES + *bytes;
	return at + PREFIX_BYTES;
}

static void
run_source(int out_fd)
{
	uint8_t *event = malloc(event_bytes), *out = malloc(PIECE_BYTES);
	size_t used = 0;

	if (event == NULL || out == NULL)
		bench_die("malloc");
	memset(event, 'x', event_bytes);
	for (uint64_t i = 0; i < events; i++) {
		if (used + PREFIX_BYTES + event_bytes > PIECE_BYTES) {
			bench_write(out_fd, out, used);
			used = 0;
		}
		put_be32(out + used, (uint32_t)event_bytes);
		memcpy(out + used + PREFIX_BYTES, event, event_bytes);
		used += PREFIX_BYTES + event_bytes;
	}
	bench_write(out_fd, out, used);
}

/* Makes the file, of zeros, so that a sync costs one flush of the device. */
static int
make_file(void)
{
	static const uint8_t zeros[PIECE_BYTES];
	int fd = open(file_name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd == -1)
		bench_die(file_name);
	if (unlink(file_name) == -1)
		bench_die(file_name);
	for (uint64_t at = 0; at < FILE_BYTES; at += PIECE_BYTES)
		bench_write(fd, zeros, PIECE_BYTES);
	if (fsync(fd) == -1)
		bench_die("fsync");
	return fd;
}

static void
run_log(int in_fd, int out_fd)
{
	struct input in = open_input(in_fd);
	uint8_t *batch = malloc(4 * PIECE_BYTES);
	int fd = make_file();
	uint64_t offset = 0, syncs = 0;

	if (batch == NULL)
		bench_die("malloc");
	while (fill(&in)) {
		const uint8_t *event;
		size_t first = in.start, used = 0, bytes;

		while ((event = next_event(&in, &bytes)) != NULL) {
			put_be32(batch + used, (uint32_t)bytes);
			put_be32(batch + used + 4,
			    (uint32_t)XXH3_64bits(event, bytes));
			memcpy(batch + used + RECORD_BYTES, event, bytes);
			used += RECORD_BYTES + bytes;
		}
		if (offset + used > FILE_BYTES)
			offset = 0;
		if (pwrite(fd, batch, used, (off_t)offset) != (ssize_t)used ||
		    fdatasync(fd) == -1)
			bench_die("the log");
		offset += used;
		syncs++;
		bench_write(out_fd, in.data + first, in.start - first);
	}
	bench_print("ceiling_syncs", (double)syncs, "syncs");
}

/* Writes one masked frame; returns its length. */
static size_t
put_frame(
    uint8_t *out, const uint8_t *event, size_t bytes, const uint8_t mask[4])
{
	size_t at = 2;

	out[0] = 0x81;
	out[1] = (uint8_t)(0x80 | (bytes < 126 ? bytes : 126));
	if (bytes >= 126) {
		put_be16(out + at, (uint16_t)bytes);
		at += 2;
	}
	memcpy(out + at, mask, 4);
	bench_mask(out + at + 4, event, bytes, mask);
	return at + 4 + bytes;
}

static void
run_sink(int in_fd, uint16_t port)
{
	struct input in = open_input(in_fd);
	uint8_t *out = malloc(4 * PIECE_BYTES), masks[MASKS_BYTES], answer;
	size_t masks_used = MASKS_BYTES;
	int fd = bench_dial(port);

	if (out == NULL)
		bench_die("malloc");
	while (fill(&in)) {
		const uint8_t *event;
		size_t used = 0, bytes;

		while ((event = next_event(&in, &bytes)) != NULL) {
			if (masks_used == MASKS_BYTES) {
				if (getrandom(masks, MASKS_BYTES, 0) !=
				    (ssize_t)MASKS_BYTES)
					bench_die("getrandom");
				masks_used = 0;
			}
			used += put_frame(
			    out + used, event, bytes, masks + masks_used);
			masks_used += 4;
		}
		bench_write(fd, out, used);
	}
	if (shutdown(fd, SHUT_WR) == -1 || read(fd, &answer, 1) != 1)
		bench_die("the server's answer");
}

static void
run_server(int listen_fd)
{
	struct input in = open_input(accept(listen_fd, NULL, NULL));
	struct bench_frame frame;
	int64_t first_ns = 0, ns;
	uint64_t count = 0;

	if (in.fd == -1)
		bench_die("accept");
	while (fill(&in)) {
		if (first_ns == 0)
			first_ns = bench_now_ns();
		while (bench_read_frame(
		    in.data + in.start, in.end - in.start, &frame)) {
			bench_mask(frame.payload, frame.payload, frame.bytes,
			    frame.mask);
			in.start += frame.frame_bytes;
			count += frame.bytes == event_bytes;
		}
	}
	ns = bench_now_ns() - first_ns;
	bench_write(in.fd, "!", 1);
	if (count != events) {
		(void)fprintf(stderr, "%llu of %llu events came\n",
		    (unsigned long long)count, (unsigned long long)events);
		exit(1);
	}
	bench_print(
	    "ceiling_events_per_s", (double)events * 1e9 / (double)ns, "1/s");
	bench_print("ceiling_bytes_per_s",
	    (double)(events * event_bytes) * 1e9 / (double)ns, "B/s");
}

/* Ends a child that has done its work. */
static void
leave(void)
{
	if (fflush(stdout) == EOF)
		bench_die("output");
	_exit(0);
}

/* Runs the four, each in a process of its own. */
static void
run(void)
{
	int first[2], second[2], listen_fd;
	uint16_t port = 0;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, first) == -1 ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, second) == -1)
		bench_die("socketpair");
	listen_fd = bench_listen(&port);
	for (int i = 0; i < 4; i++) {
		pid_t pid = fork();

		if (pid == -1)
			bench_die("fork");
		if (pid != 0)
			continue;
		/* Each sees the end of its input only if nobody else holds
		 * the other side. */
		if (i != 0)
			(void)close(first[0]);
		if (i != 1) {
			(void)close(first[1]);
			(void)close(second[0]);
		}
		if (i != 2)
			(void)close(second[1]);
		if (i == 0)
			run_source(first[0]);
		else if (i == 1)
			run_log(first[1], second[0]);
		else if (i == 2)
			run_sink(second[1], port);
		else
			run_server(listen_fd);
		leave();
	}
}

/* Waits for the four, and adds up what they have used. */
static void
finish(void)
{
	struct rusage usage;
	double us = 0;
	int status;

	for (int i = 0; i < 4; i++) {
		if (wait4(-1, &status, 0, &usage) == -1)
			bench_die("wait");
		if (status != 0)
			exit(1);
		us += (double)usage.ru_utime.tv_sec * 1e6 +
		      (double)usage.ru_utime.tv_usec +
		      (double)usage.ru_stime.tv_sec * 1e6 +
		      (double)usage.ru_stime.tv_usec;
	}
	bench_print("ceiling_cpu_us_per_event", us / (double)events, "us");
}

int
main(int argc, char **argv)
{
	int option;

	while ((option = getopt(argc, argv, "n:s:f:")) != -1) {
		if (option == 'n')
			events = bench_number("-n", optarg, UINT32_MAX);
		else if (option == 's')
			event_bytes =
			    bench_number("-s", optarg, MAX_EVENT_BYTES);
		else if (option == 'f')
			file_name = optarg;
		else
			return 1;
	}
	run();
	/* Their sides of the sockets are closed with this process's own. */
	for (int fd = 3; fd < 16; fd++)
		(void)close(fd);
	finish();
	return 0;
}
