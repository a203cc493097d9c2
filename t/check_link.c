/* The descriptors that stages are started with. */
#include "stage/control.h"
#include "supervisor/link.h"
#include "t/suite.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

/* Counts the descriptors that are open. */
static int
count_fds(void)
{
	int count = 0;

	for (int fd = 0; fd < 256; fd++)
		count += fcntl(fd, F_GETFD) != -1;
	return count;
}

/* Says that both are open, and closed by exec. */
static void
check_pair(int one_fd, int other_fd)
{
	ck_assert_int_eq(fcntl(one_fd, F_GETFD), FD_CLOEXEC);
	ck_assert_int_eq(fcntl(other_fd, F_GETFD), FD_CLOEXEC);
}

START_TEST(test_a_stream_goes_both_ways)
{
	int up_fd, down_fd;
	char byte = 0;

	ck_assert_int_eq(link_stream(&up_fd, &down_fd), 0);
	check_pair(up_fd, down_fd);
	ck_assert_int_eq(write(up_fd, "e", 1), 1);
	ck_assert_int_eq(read(down_fd, &byte, 1), 1);
	ck_assert_int_eq(write(down_fd, "a", 1), 1);
	ck_assert_int_eq(read(up_fd, &byte, 1), 1);
	link_close_fd(&up_fd);
	ck_assert_int_eq(up_fd, -1);
	ck_assert_int_eq(read(down_fd, &byte, 1), 0);
	link_close_fd(&down_fd);
}
END_TEST

/* Only the end of a log that is read does not block. */
START_TEST(test_pipes)
{
	int read_fd, write_fd;

	ck_assert_int_eq(link_pipe(&read_fd, &write_fd), 0);
	check_pair(read_fd, write_fd);
	ck_assert_int_eq(fcntl(read_fd, F_GETFL) & O_NONBLOCK, 0);
	link_close_fd(&read_fd);
	link_close_fd(&write_fd);
	ck_assert_int_eq(link_log(&read_fd, &write_fd), 0);
	check_pair(read_fd, write_fd);
	ck_assert_int_ne(fcntl(read_fd, F_GETFL) & O_NONBLOCK, 0);
	ck_assert_int_eq(fcntl(write_fd, F_GETFL) & O_NONBLOCK, 0);
	link_close_fd(&read_fd);
	link_close_fd(&write_fd);
}
END_TEST

START_TEST(test_a_control_channel_has_its_hello)
{
	struct control_msg msg;
	int our_fd, stage_fd;

	ck_assert_int_eq(link_control(&our_fd, &stage_fd), 0);
	check_pair(our_fd, stage_fd);
	ck_assert_int_eq(control_recv(stage_fd, &msg), CONTROL_GOT);
	ck_assert_int_eq(msg.what.kind, CTLMSG_HELLO);
	ck_assert_int_eq(control_recv(stage_fd, &msg), CONTROL_NOTHING);
	link_close_fd(&our_fd);
	ck_assert_int_eq(control_recv(stage_fd, &msg), CONTROL_ENDED);
	link_close_fd(&stage_fd);
}
END_TEST

START_TEST(test_all_is_closed)
{
	int before = count_fds(), unused;
	struct link link;

	link_init(&link);
	link_close(&link);
	ck_assert_int_eq(link_null(&link.in_fd), 0);
	ck_assert_int_eq(link_null(&link.out_fd), 0);
	ck_assert_int_eq(link_log(&unused, &link.log_fd), 0);
	link_close_fd(&unused);
	ck_assert_int_eq(link_control(&unused, &link.control_fd), 0);
	link_close_fd(&unused);
	ck_assert_int_eq(count_fds(), before + 4);
	link_close(&link);
	ck_assert_int_eq(link.in_fd, -1);
	ck_assert_int_eq(count_fds(), before);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("link");
	TCase *tests = tcase_create("link");

	suite_add_tcase(suite, tests);
	tcase_add_test(tests, test_a_stream_goes_both_ways);
	tcase_add_test(tests, test_pipes);
	tcase_add_test(tests, test_a_control_channel_has_its_hello);
	tcase_add_test(tests, test_all_is_closed);
	return suite_run(suite);
}
