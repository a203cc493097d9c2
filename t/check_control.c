#include "stage/control.h"
#include "stage/io.h"
#include "t/suite.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))
#define MANY 5

static int pair[2]; /* [0] is the supervisor's end, [1] the stage's */

static void
set_up(void)
{
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
}

/* How many descriptors are open. */
static int
open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int count = 0;

	ck_assert_ptr_nonnull(dir);
	while (readdir(dir) != NULL)
		count++;
	(void)closedir(dir);
	return count;
}

static bool
is_same_file(int a, int b)
{
	struct stat one, other;

	ck_assert_int_eq(fstat(a, &one), 0);
	ck_assert_int_eq(fstat(b, &other), 0);
	return one.st_dev == other.st_dev && one.st_ino == other.st_ino;
}

static void
put(int fd, const void *bytes, size_t n)
{
	ck_assert_int_eq(send(fd, bytes, n, 0), (ssize_t)n);
}

/* Sends `text` with `count` copies of the descriptor `fd`. */
static void
put_with_fds(const char *text, int fd, size_t count)
{
	union {
		struct cmsghdr head;
		char bytes[CMSG_SPACE(MANY * sizeof(int))];
	} passed = {.bytes = {0}};
	char copy[64];
	struct iovec part = {.iov_base = copy, .iov_len = strlen(text)};
	struct msghdr packet = {
	    .msg_iov = &part,
	    .msg_iovlen = 1,
	    .msg_control = &passed,
	    .msg_controllen = CMSG_SPACE(count * sizeof(int)),
	};
	struct cmsghdr *head = CMSG_FIRSTHDR(&packet);

	memcpy(copy, text, strlen(text));
	head->cmsg_level = SOL_SOCKET;
	head->cmsg_type = SCM_RIGHTS;
	head->cmsg_len = CMSG_LEN(count * sizeof(int));
	for (size_t i = 0; i < count; i++)
		memcpy(CMSG_DATA(head) + i * sizeof(int), &fd, sizeof(int));
	ck_assert_int_ge(sendmsg(pair[0], &packet, 0), 0);
}

/* Takes the next message, which is of this kind; returns its descriptor. */
static int
take(int fd, enum ctlmsg_kind kind)
{
	struct control_msg msg;

	ck_assert_int_eq(control_recv(fd, &msg), CONTROL_GOT);
	ck_assert_int_eq(msg.what.kind, kind);
	ck_assert((kind == CTLMSG_REPORT || kind == CTLMSG_STREAMS) ==
		  (msg.what.body != NULL));
	cJSON_Delete(msg.what.body);
	return msg.fd;
}

START_TEST(test_messages_arrive_as_they_were_sent)
{
	cJSON *report = cJSON_CreateObject();

	(void)cJSON_AddArrayToObject(report, "in");
	(void)cJSON_AddArrayToObject(report, "out");
	for (int i = CTLMSG_HELLO; i < CTLMSG_KINDS; i++) {
		enum ctlmsg_kind kind = (enum ctlmsg_kind)i;
		struct ctlmsg msg = {.kind = kind, .body = report};

		if (kind == CTLMSG_ATTACH_IN || kind == CTLMSG_ATTACH_OUT)
			continue;
		ck_assert_int_eq(control_send(pair[0], &msg, -1), 0);
		ck_assert_int_eq(take(pair[1], kind), -1);
	}
	cJSON_Delete(report);
}
END_TEST

START_TEST(test_nothing_there_and_the_other_end_closed)
{
	struct control_msg msg;

	ck_assert_int_eq(control_recv(pair[1], &msg), CONTROL_NOTHING);
	put(pair[0], "{\"drain\":true}", 14);
	(void)close(pair[0]);
	ck_assert_int_eq(take(pair[1], CTLMSG_DRAIN), -1);
	ck_assert_int_eq(control_recv(pair[1], &msg), CONTROL_ENDED);
	ck_assert_int_eq(control_recv(pair[1], &msg), CONTROL_ENDED);
}
END_TEST

/* An end closed with packets unread resets the other: what that end had sent
 * is there all the same. */
START_TEST(test_last_words_of_one_that_did_not_read)
{
	struct control_msg msg;

	put(pair[0], "{\"ask\":\"report\"}", 16);
	put(pair[1], "{\"report\":{}}", 13);
	(void)close(pair[1]);
	ck_assert_int_eq(take(pair[0], CTLMSG_REPORT), -1);
	ck_assert_int_eq(control_recv(pair[0], &msg), CONTROL_ENDED);
}
END_TEST

START_TEST(test_no_socket_is_the_end)
{
	struct control_msg msg;
	int null = open("/dev/null", O_RDONLY);

	ck_assert_int_eq(control_recv(null, &msg), CONTROL_ENDED);
	ck_assert_int_eq(control_recv(-1, &msg), CONTROL_ENDED);
	ck_assert_int_eq(control_send_kind(null, CTLMSG_ASK, -1), -1);
}
END_TEST

START_TEST(test_descriptor_comes_along)
{
	int given = open("/", O_RDONLY), got;

	ck_assert_int_eq(
	    control_send_kind(pair[0], CTLMSG_ATTACH_OUT, given), 0);
	got = take(pair[1], CTLMSG_ATTACH_OUT);
	ck_assert_int_ne(got, given);
	ck_assert(is_same_file(got, given));
	ck_assert_int_eq(fcntl(got, F_GETFD), FD_CLOEXEC);
}
END_TEST

START_TEST(test_attach_without_a_descriptor_is_none)
{
	put(pair[0], "{\"attach\":\"in\"}", 15);
	ck_assert_int_eq(take(pair[1], CTLMSG_UNKNOWN), -1);
}
END_TEST

/* Whatever comes with a descriptor that it cannot have, or with several, none
 * stays open. */
START_TEST(test_descriptors_that_are_not_wanted)
{
	static const char *const table[] = {
	    "{\"drain\":true}",
	    "{\"later\":1}",
	    "{\"report\":{\"a\":1}}",
	    "garbage",
	    "{\"attach\":\"both\"}",
	};
	int before = open_fds();

	for (size_t i = 0; i < COUNT(table); i++)
		for (size_t count = 1; count <= MANY; count++) {
			struct control_msg msg;

			put_with_fds(table[i], pair[0], count);
			ck_assert_int_eq(
			    control_recv(pair[1], &msg), CONTROL_GOT);
			ck_assert_int_eq(msg.fd, -1);
			cJSON_Delete(msg.what.body);
			ck_assert_int_eq(open_fds(), before);
		}
}
END_TEST

START_TEST(test_attach_with_several_descriptors_has_one)
{
	int before = open_fds();

	for (size_t count = 1; count <= MANY; count++) {
		int fd;

		put_with_fds("{\"attach\":\"in\"}", pair[0], count);
		fd = take(pair[1], CTLMSG_ATTACH_IN);
		ck_assert(is_same_file(fd, pair[0]));
		(void)close(fd);
		ck_assert_int_eq(open_fds(), before);
	}
}
END_TEST

START_TEST(test_empty_packet_with_a_descriptor)
{
	struct control_msg msg;
	int before = open_fds();

	put_with_fds("", pair[0], 1);
	ck_assert_int_eq(control_recv(pair[1], &msg), CONTROL_ENDED);
	ck_assert_int_eq(open_fds(), before);
}
END_TEST

START_TEST(test_garbage_and_too_long_are_unknown)
{
	static char text[CTLMSG_MAX_BYTES + 100];

	memset(text, ' ', sizeof(text));
	memcpy(text, "{\"drain\":true}", 14);
	put(pair[0], text, sizeof(text));
	put(pair[0], "\xff\0{", 3);
	put(pair[0], text, CTLMSG_MAX_BYTES);
	ck_assert_int_eq(take(pair[1], CTLMSG_UNKNOWN), -1);
	ck_assert_int_eq(take(pair[1], CTLMSG_UNKNOWN), -1);
	ck_assert_int_eq(take(pair[1], CTLMSG_DRAIN), -1);
}
END_TEST

START_TEST(test_sending_to_one_that_does_not_read)
{
	int sent = 0;

	while (control_send_kind(pair[0], CTLMSG_ASK, -1) == 0)
		sent++;
	ck_assert_int_eq(errno, EAGAIN);
	ck_assert_int_gt(sent, 5);
	(void)close(pair[1]);
	ck_assert_int_eq(control_send_kind(pair[0], CTLMSG_ASK, -1), -1);
	ck_assert(errno == EPIPE || errno == ECONNRESET);
}
END_TEST

START_TEST(test_report_that_is_too_long_is_not_sent)
{
	static char why[CTLMSG_MAX_BYTES];
	struct control_msg msg;
	cJSON *report = cJSON_CreateObject();
	const struct ctlmsg sent = {.kind = CTLMSG_REPORT, .body = report};

	memset(why, 'x', sizeof(why) - 1);
	(void)cJSON_AddStringToObject(report, "why", why);
	ck_assert_int_eq(control_send(pair[0], &sent, -1), -1);
	ck_assert_int_eq(errno, EMSGSIZE);
	ck_assert_int_eq(control_recv(pair[1], &msg), CONTROL_NOTHING);
	cJSON_Delete(report);
}
END_TEST

/* Gives the stage's end its number, as a supervisor does. main has kept the
 * number from what Check opens. */
static void
place(int fd)
{
	ck_assert_int_eq(dup2(fd, CONTROL_FD), CONTROL_FD);
}

START_TEST(test_open_takes_the_hello_only)
{
	struct control control;

	put(pair[0], "{\"control\":1}", 13);
	put(pair[0], "{\"drain\":true}", 14);
	place(pair[1]);
	control_open(&control);
	ck_assert(control_is_open(&control));
	ck_assert_int_eq(take(CONTROL_FD, CTLMSG_DRAIN), -1);
}
END_TEST

/* Whatever has the number and is no control channel is left as it is. */
START_TEST(test_open_without_a_hello)
{
	static const char *const table[] = {
	    "{\"drain\":true}", "{\"report\":{}}", "{\"control\":2}", "x"};
	struct control control;
	char got[64];

	for (size_t i = 0; i < COUNT(table); i++) {
		size_t n = strlen(table[i]);

		set_up();
		put(pair[0], table[i], n);
		place(pair[1]);
		control_open(&control);
		ck_assert(!control_is_open(&control));
		ck_assert_int_eq(
		    recv(CONTROL_FD, got, sizeof(got), 0), (ssize_t)n);
		ck_assert_mem_eq(got, table[i], n);
	}
}
END_TEST

START_TEST(test_open_on_other_descriptors)
{
	struct control control;
	int stream[2];
	char got[64];

	place(pair[1]);
	control_open(&control);
	ck_assert(!control_is_open(&control));

	(void)close(pair[0]);
	control_open(&control);
	ck_assert(!control_is_open(&control));

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, stream), 0);
	put(stream[0], "{\"control\":1}", 13);
	place(stream[1]);
	control_open(&control);
	ck_assert(!control_is_open(&control));
	ck_assert_int_eq(recv(CONTROL_FD, got, sizeof(got), 0), 13);

	(void)close(CONTROL_FD);
	control_open(&control);
	ck_assert(!control_is_open(&control));
	control_ready(&control);
	control_fault(&control, true, "");
	control_report(&control, cJSON_CreateObject());
}
END_TEST

/* One turn of a loop that does not wait; what control_next says in it. */
static enum control_status
turn(struct control *control, struct loop *loop, struct control_msg *msg)
{
	loop_begin(loop);
	control_watch(control, loop);
	loop_until(loop, 0);
	ck_assert_int_eq(loop_wait(loop), 0);
	return control_next(control, loop, msg);
}

START_TEST(test_stage_and_supervisor)
{
	static const int signals[] = {SIGUSR1};
	struct control control;
	struct control_msg msg;
	struct loop loop;

	put(pair[0], "{\"control\":1}", 13);
	place(pair[1]);
	(void)close(pair[1]);
	control_open(&control);
	ck_assert_int_eq(loop_open(&loop, signals, COUNT(signals)), 0);
	control_ready(&control);
	ck_assert_int_eq(take(pair[0], CTLMSG_READY), -1);
	ck_assert_int_eq(turn(&control, &loop, &msg), CONTROL_NOTHING);
	put(pair[0], "{\"ask\":\"report\"}", 16);
	ck_assert_int_eq(turn(&control, &loop, &msg), CONTROL_GOT);
	ck_assert_int_eq(msg.what.kind, CTLMSG_ASK);
	ck_assert_int_eq(control_next(&control, &loop, &msg), CONTROL_NOTHING);
	control_report(&control, cJSON_CreateObject());
	ck_assert_int_eq(take(pair[0], CTLMSG_REPORT), -1);
	control_fault(&control, true, "");
	ck_assert_int_eq(take(pair[0], CTLMSG_FAULT_IN), -1);
	control_fault(&control, false, "ws");
	ck_assert_int_eq(take(pair[0], CTLMSG_FAULT_OUT), -1);
	(void)close(pair[0]);
	ck_assert_int_eq(turn(&control, &loop, &msg), CONTROL_ENDED);
	ck_assert(control.is_lost && control_is_open(&control));
	ck_assert_int_eq(turn(&control, &loop, &msg), CONTROL_NOTHING);
	control_report(&control, cJSON_CreateObject());
	loop_close(&loop);
}
END_TEST

/* A stage is told nothing that is its own to say. */
START_TEST(test_stage_hears_only_what_is_for_stages)
{
	static const int signals[] = {SIGUSR1};
	static const char *const table[] = {
	    "{\"report\":{\"a\":1}}", "{\"ready\":true}", "{\"control\":1}"};
	struct control control;
	struct control_msg msg;
	struct loop loop;

	put(pair[0], "{\"control\":1}", 13);
	place(pair[1]);
	control_open(&control);
	ck_assert_int_eq(loop_open(&loop, signals, COUNT(signals)), 0);
	for (size_t i = 0; i < COUNT(table); i++) {
		put(pair[0], table[i], strlen(table[i]));
		ck_assert_int_eq(turn(&control, &loop, &msg), CONTROL_GOT);
		ck_assert_int_eq(msg.what.kind, CTLMSG_UNKNOWN);
		ck_assert_ptr_null(msg.what.body);
	}
	loop_close(&loop);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("control");
	TCase *tests = tcase_create("control");

	/* A number that no descriptor of a test is to get by chance. */
	(void)io_claim_stdio();
	(void)dup2(STDIN_FILENO, CONTROL_FD);
	suite_add_tcase(suite, tests);
	tcase_add_checked_fixture(tests, set_up, NULL);
	tcase_add_test(tests, test_messages_arrive_as_they_were_sent);
	tcase_add_test(tests, test_nothing_there_and_the_other_end_closed);
	tcase_add_test(tests, test_last_words_of_one_that_did_not_read);
	tcase_add_test(tests, test_no_socket_is_the_end);
	tcase_add_test(tests, test_descriptor_comes_along);
	tcase_add_test(tests, test_attach_without_a_descriptor_is_none);
	tcase_add_test(tests, test_descriptors_that_are_not_wanted);
	tcase_add_test(tests, test_attach_with_several_descriptors_has_one);
	tcase_add_test(tests, test_empty_packet_with_a_descriptor);
	tcase_add_test(tests, test_garbage_and_too_long_are_unknown);
	tcase_add_test(tests, test_sending_to_one_that_does_not_read);
	tcase_add_test(tests, test_report_that_is_too_long_is_not_sent);
	tcase_add_test(tests, test_open_takes_the_hello_only);
	tcase_add_test(tests, test_open_without_a_hello);
	tcase_add_test(tests, test_open_on_other_descriptors);
	tcase_add_test(tests, test_stage_and_supervisor);
	tcase_add_test(tests, test_stage_hears_only_what_is_for_stages);
	return suite_run(suite);
}
