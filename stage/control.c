#include "stage/control.h"

#include "stage/log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Room for the one descriptor that comes along, as cmsg(3) wants it. */
union passed {
	struct cmsghdr head;
	char bytes[CMSG_SPACE(sizeof(int))];
};

int
control_send(int fd, const struct ctlmsg *msg, int passed_fd)
{
	uint8_t text[CTLMSG_MAX_BYTES];
	struct iovec part = {.iov_base = text};
	struct msghdr packet = {.msg_iov = &part, .msg_iovlen = 1};
	union passed passed = {.bytes = {0}};
	ssize_t n;

	part.iov_len = ctlmsg_put(text, msg);
	if (part.iov_len == 0) {
		errno = EMSGSIZE;
		return -1;
	}
	if (passed_fd != -1) {
		struct cmsghdr *head;

		packet.msg_control = &passed;
		packet.msg_controllen = sizeof(passed);
		head = CMSG_FIRSTHDR(&packet);
		head->cmsg_level = SOL_SOCKET;
		head->cmsg_type = SCM_RIGHTS;
		head->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(head), &passed_fd, sizeof(int));
	}
	do
		n = sendmsg(fd, &packet, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n == -1 && errno == EINTR);
	return n == -1 ? -1 : 0;
}

int
control_send_kind(int fd, enum ctlmsg_kind kind, int passed_fd)
{
	const struct ctlmsg msg = {.kind = kind};

	return control_send(fd, &msg, passed_fd);
}

/* Returns the descriptor that came along, or -1. */
static int
take_fd(struct msghdr *packet)
{
	struct cmsghdr *head = CMSG_FIRSTHDR(packet);
	int fd = -1;

	if (head != NULL && head->cmsg_level == SOL_SOCKET &&
	    head->cmsg_type == SCM_RIGHTS &&
	    head->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(&fd, CMSG_DATA(head), sizeof(int));
	return fd;
}

/* Says whether a descriptor came along with the message, and there was no room
 * for it in this process. */
static bool
has_lost_fd(const struct msghdr *packet, const struct control_msg *msg)
{
	return msg->fd == -1 && (packet->msg_flags & MSG_CTRUNC) != 0 &&
	       (msg->what.kind == CTLMSG_ATTACH_IN ||
		   msg->what.kind == CTLMSG_ATTACH_OUT);
}

/* Drops what a message has with it and cannot have. */
static void
check_fd(struct control_msg *msg)
{
	bool wants_fd = msg->what.kind == CTLMSG_ATTACH_IN ||
			msg->what.kind == CTLMSG_ATTACH_OUT;

	if (wants_fd && msg->fd == -1)
		msg->what.kind = CTLMSG_UNKNOWN;
	if (wants_fd || msg->fd == -1)
		return;
	(void)close(msg->fd);
	msg->fd = -1;
}

enum control_status
control_recv(int fd, struct control_msg *msg)
{
	uint8_t text[CTLMSG_MAX_BYTES];
	union passed passed;
	struct iovec part = {.iov_base = text, .iov_len = sizeof(text)};
	struct msghdr packet = {
	    .msg_iov = &part,
	    .msg_iovlen = 1,
	    .msg_control = &passed,
	    /* Not CMSG_SPACE, whose padding is room for a second one: the
	     * kernel closes what there is no room for. */
	    .msg_controllen = CMSG_LEN(sizeof(int)),
	};
	const char *why;
	ssize_t n;

	/* One that closed its end without reading all of it resets this one,
	 * which is told once and first. What it had sent is still here. */
	do
		n = recvmsg(fd, &packet, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	while (n == -1 && (errno == EINTR || errno == ECONNRESET));
	if (n == -1)
		return errno == EAGAIN || errno == EWOULDBLOCK ? CONTROL_NOTHING
							       : CONTROL_ENDED;
	*msg = (struct control_msg){.fd = take_fd(&packet)};
	if (n == 0) {
		check_fd(msg);
		return CONTROL_ENDED;
	}
	if ((packet.msg_flags & MSG_TRUNC) != 0 ||
	    ctlmsg_parse(text, (size_t)n, &msg->what, &why) == -1)
		msg->what.kind = CTLMSG_UNKNOWN;
	/* The stream is lost, and comes only once. */
	if (has_lost_fd(&packet, msg)) {
		log_error("a new stream came, and no descriptor was free");
		return CONTROL_ENDED;
	}
	check_fd(msg);
	return CONTROL_GOT;
}

/* Says whether `fd` is a socket of the kind, and a hello is the first packet
 * on it. Nothing is taken. */
static bool
has_hello(int fd)
{
	uint8_t text[CTLMSG_MAX_BYTES];
	socklen_t size = sizeof(int);
	struct ctlmsg msg;
	const char *why;
	int type;
	ssize_t n;

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == -1 ||
	    type != SOCK_SEQPACKET)
		return false;
	n = recv(fd, text, sizeof(text), MSG_PEEK | MSG_DONTWAIT);
	if (n <= 0 || ctlmsg_parse(text, (size_t)n, &msg, &why) == -1)
		return false;
	cJSON_Delete(msg.body);
	return msg.kind == CTLMSG_HELLO;
}

void
control_open(struct control *control)
{
	struct control_msg hello;

	*control = (struct control){.fd = -1};
	if (!has_hello(CONTROL_FD))
		return;
	control->fd = CONTROL_FD;
	(void)control_recv(CONTROL_FD, &hello);
}

bool
control_is_open(const struct control *control)
{
	return control->fd != -1;
}

void
control_watch(struct control *control, struct loop *loop)
{
	control->slot =
	    loop_watch(loop, control->is_lost ? -1 : control->fd, POLLIN);
}

static bool
is_for_stage(enum ctlmsg_kind kind)
{
	return kind == CTLMSG_ATTACH_IN || kind == CTLMSG_ATTACH_OUT ||
	       kind == CTLMSG_DRAIN || kind == CTLMSG_DRAIN_PRESENT ||
	       kind == CTLMSG_ASK || kind == CTLMSG_STREAMS;
}

enum control_status
control_next(
    struct control *control, const struct loop *loop, struct control_msg *msg)
{
	enum control_status status;

	if (control->fd == -1 || control->is_lost ||
	    loop_ready(loop, control->slot) == 0)
		return CONTROL_NOTHING;
	status = control_recv(control->fd, msg);
	if (status == CONTROL_ENDED)
		control->is_lost = true;
	if (status == CONTROL_GOT && !is_for_stage(msg->what.kind)) {
		msg->what.kind = CTLMSG_UNKNOWN;
		cJSON_Delete(msg->what.body);
		msg->what.body = NULL;
	}
	return status;
}

void
control_ready(struct control *control)
{
	if (control->fd != -1)
		(void)control_send_kind(control->fd, CTLMSG_READY, -1);
}

void
control_fault(struct control *control, bool is_in, const char *name)
{
	struct ctlmsg msg = {
	    .kind = is_in ? CTLMSG_FAULT_IN : CTLMSG_FAULT_OUT,
	};

	(void)snprintf(msg.name, sizeof(msg.name), "%s", name);
	if (control->fd != -1)
		(void)control_send(control->fd, &msg, -1);
}

void
control_report(struct control *control, cJSON *report)
{
	struct ctlmsg msg = {.kind = CTLMSG_REPORT, .body = report};

	if (control->fd != -1)
		(void)control_send(control->fd, &msg, -1);
	cJSON_Delete(report);
}
