#include "supervisor/notify.h"
#include "t/suite.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static char directory[] = "/tmp/check_notify.XXXXXX";
static char path[sizeof(directory) + 8];
static int manager_fd;
static struct notify notify;

/* Becomes the manager, at a path or at an abstract name behind "@". */
static void
listen_at(const char *name)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};

	memcpy(at.sun_path, name, strlen(name));
	if (name[0] == '@')
		at.sun_path[0] = '\0';
	manager_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	ck_assert_int_eq(
	    bind(manager_fd, (struct sockaddr *)&at,
		(socklen_t)(offsetof(struct sockaddr_un, sun_path) +
			    strlen(name))),
	    0);
	ck_assert_int_eq(setenv("NOTIFY_SOCKET", name, 1), 0);
}

static void
set_up(void)
{
	ck_assert_ptr_nonnull(mkdtemp(directory));
	(void)snprintf(path, sizeof(path), "%s/socket", directory);
	listen_at(path);
}

static void
tear_down(void)
{
	notify_fini(&notify);
	(void)unlink(path);
	(void)rmdir(directory);
}

/* The next message, or "" if there is none. */
static const char *
received(void)
{
	static char text[2 * NOTIFY_BYTES];
	ssize_t n = recv(manager_fd, text, sizeof(text) - 1, 0);

	text[n < 0 ? 0 : n] = '\0';
	return text;
}

START_TEST(test_messages_arrive_one_by_one)
{
	notify_init(&notify);
	ck_assert(notify_is_wanted(&notify));
	notify_send(&notify, "READY=1\nSTATUS=%d instances run", 2);
	notify_reloading(&notify, INT64_C(1234567890123));
	notify_send(&notify, "STOPPING=1");
	ck_assert_str_eq(received(), "READY=1\nSTATUS=2 instances run");
	ck_assert_str_eq(received(), "RELOADING=1\nMONOTONIC_USEC=1234567890");
	ck_assert_str_eq(received(), "STOPPING=1");
	ck_assert_str_eq(received(), "");
}
END_TEST

START_TEST(test_an_abstract_name)
{
	char name[64];

	(void)snprintf(name, sizeof(name), "@walpipe/%d", (int)getpid());
	(void)close(manager_fd);
	listen_at(name);
	notify_init(&notify);
	notify_send(&notify, "READY=1");
	ck_assert_str_eq(received(), "READY=1");
}
END_TEST

/* The stages inherit neither the variable nor the socket. */
START_TEST(test_nothing_is_inherited)
{
	notify_init(&notify);
	ck_assert_ptr_null(getenv("NOTIFY_SOCKET"));
	ck_assert_int_ne(fcntl(notify.fd, F_GETFD) & FD_CLOEXEC, 0);
}
END_TEST

START_TEST(test_nobody_wants_to_know)
{
	static const char *const names[] = {NULL, "", "/", "@", "relative",
	    "/far/too/long/for/an/address/................................"
	    "................................................................"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		(void)unsetenv("NOTIFY_SOCKET");
		if (names[i] != NULL)
			(void)setenv("NOTIFY_SOCKET", names[i], 1);
		notify_init(&notify);
		ck_assert(!notify_is_wanted(&notify));
		ck_assert_ptr_null(getenv("NOTIFY_SOCKET"));
		notify_send(&notify, "READY=1");
		notify_reloading(&notify, 0);
		notify_fini(&notify);
	}
}
END_TEST

START_TEST(test_a_manager_that_is_gone)
{
	notify_init(&notify);
	(void)close(manager_fd);
	errno = EDOM;
	notify_send(&notify, "READY=1");
	(void)unlink(path);
	notify_send(&notify, "READY=1");
	ck_assert_int_eq(errno, EDOM);
}
END_TEST

/* Says whether one more message was sent at once; `errno` says why not. */
static bool
had_room(void)
{
	return sendto(notify.fd, "STATUS=", 7, MSG_DONTWAIT,
		   (const struct sockaddr *)&notify.address,
		   notify.address_bytes) == 7;
}

/* One that does not read is waited for a moment only, and then passed over; who
 * reads late gets what fitted. */
START_TEST(test_a_manager_that_does_not_read)
{
	int sent = 0, taken = 0;
	const char *text;

	notify_init(&notify);
	while (had_room())
		sent++;
	ck_assert_int_eq(errno, EAGAIN);
	notify_send(&notify, "STATUS=lost");
	while ((text = received())[0] != '\0') {
		ck_assert_str_eq(text, "STATUS=");
		taken++;
	}
	ck_assert_int_eq(taken, sent);
	notify_send(&notify, "READY=1");
	ck_assert_str_eq(received(), "READY=1");
}
END_TEST

/* What does not fit is not sent in part: half a line may mean another thing. */
START_TEST(test_a_message_that_is_too_long)
{
	notify_init(&notify);
	notify_send(&notify, "STATUS=%*d", NOTIFY_BYTES, 1);
	ck_assert_str_eq(received(), "");
	notify_send(&notify, "STATUS=%*d", NOTIFY_BYTES - 8, 1);
	ck_assert_uint_eq(strlen(received()), NOTIFY_BYTES - 1);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("notify");
	TCase *tests = tcase_create("notify");

	suite_add_tcase(suite, tests);
	tcase_add_checked_fixture(tests, set_up, tear_down);
	tcase_add_test(tests, test_messages_arrive_one_by_one);
	tcase_add_test(tests, test_an_abstract_name);
	tcase_add_test(tests, test_nothing_is_inherited);
	tcase_add_test(tests, test_nobody_wants_to_know);
	tcase_add_test(tests, test_a_manager_that_is_gone);
	tcase_add_test(tests, test_a_manager_that_does_not_read);
	tcase_add_test(tests, test_a_message_that_is_too_long);
	return suite_run(suite);
}
