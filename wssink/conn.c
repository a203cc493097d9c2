#include "wssink/conn.h"

#include "stage/io.h"
#include "stage/log.h"
#include "stage/mem.h"

#include <curl/curl.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>

/* One TLS record carries at most this; see conn_send. */
#define BLOCK_BYTES ((size_t)16 << 10)
#define FIRST_ROOM 4
/* What the system holds unsent at most; see io_set_unsent_limit. Enough to keep
 * it busy until we are called again. */
#define UNSENT_BYTES ((int)512 << 10)

/* A descriptor that libcurl waits for while it connects. */
struct wanted {
	curl_socket_t fd;
	short events;
	size_t slot; /* this turn's slot in the loop */
};

struct conn {
	const struct conn_options *options; /* borrowed */
	const struct conn_url *url;	    /* borrowed */
	CURLM *multi;
	CURL *easy;	 /* NULL: down */
	bool may_be_tls; /* once up: what is written, or a part of the way */
	bool is_up;
	bool is_drained;       /* the last read found nothing more */
	bool is_hung_up;       /* by the peer; see conn_was_hung_up */
	curl_socket_t fd;      /* libcurl's; valid while it is up */
	uint64_t silence_ms;   /* as conn_allow_silence has set it; 0: not */
	size_t slot;	       /* of fd */
	int64_t timer_ns;      /* when libcurl wants to be called */
	struct wanted *wanted; /* owned; kept by on_socket */
	size_t wanted_count;
	size_t wanted_room;
	struct wanted *watched; /* owned; what this turn watches */
	size_t watched_count;
	size_t watched_room;
	size_t block_bytes; /* in block, offered to libcurl, not taken */
	uint8_t block[BLOCK_BYTES];
	char error[CURL_ERROR_SIZE]; /* libcurl writes here */
	char why[CONN_WHY_BYTES];
};

/* Gets one part of a URL as memory of ours; NULL if the URL has none. */
static char *
get_part(CURLU *parsed, CURLUPart part, unsigned flags)
{
	char *text, *copy;

	if (curl_url_get(parsed, part, &text, flags) != CURLUE_OK)
		return NULL;
	copy = mem_strdup(text);
	curl_free(text);
	return copy;
}

static bool
is_visible_ascii(const char *text)
{
	for (; *text != '\0'; text++)
		if (*text <= ' ' || *text > '~')
			return false;
	return true;
}

/* Takes the parts out of a parsed URL but for `shown`. */
static int
take_parts(struct conn_url *url, CURLU *parsed, const char **why)
{
	char *host = get_part(parsed, CURLUPART_HOST, 0);
	char *port = get_part(parsed, CURLUPART_PORT, CURLU_NO_DEFAULT_PORT);
	char *path = get_part(parsed, CURLUPART_PATH, 0);
	char *query = get_part(parsed, CURLUPART_QUERY, 0);
	int result = -1;

	/* How libcurl would write it depends on the locale, and on libcurl. */
	if (host != NULL && !is_visible_ascii(host)) {
		*why = "the host's name is not ASCII: write it as xn--...";
		goto done;
	}
	*why = "the URL has no host";
	if (host == NULL || path == NULL || host[0] == '\0')
		goto done;
	url->user = get_part(parsed, CURLUPART_USER, CURLU_URLDECODE);
	url->password = get_part(parsed, CURLUPART_PASSWORD, CURLU_URLDECODE);
	if (url->user != NULL && url->password == NULL)
		url->password = mem_strdup("");
	url->host = mem_printf(
	    "%s%s%s", host, port == NULL ? "" : ":", port == NULL ? "" : port);
	url->target = mem_printf("%s%s%s", path, query == NULL ? "" : "?",
	    query == NULL ? "" : query);
	(void)curl_url_set(parsed, CURLUPART_USER, NULL, 0);
	(void)curl_url_set(parsed, CURLUPART_PASSWORD, NULL, 0);
	url->plain = get_part(parsed, CURLUPART_URL, 0);
	*why = "the URL cannot be written as a request";
	if (url->plain != NULL && is_visible_ascii(url->host) &&
	    is_visible_ascii(url->target))
		result = 0;
done:
	free(host);
	free(port);
	free(path);
	free(query);
	return result;
}

/* Returns what may be shown of a URL that was taken apart; the caller frees it.
 */
static char *
show(const struct conn_url *url, bool is_tls, bool hides_path)
{
	size_t path_bytes = strcspn(url->target, "?");
	bool has_query = url->target[path_bytes] == '?';

	return mem_printf("%s://%s%.*s%s", is_tls ? "wss" : "ws", url->host,
	    hides_path ? 4 : (int)path_bytes, hides_path ? "/..." : url->target,
	    has_query ? "?..." : "");
}

/* As take_parts, once a fragment is ruled out (RFC 6455, section 3). */
static int
check_parts(struct conn_url *url, CURLU *parsed, const char **why)
{
	char *fragment = get_part(parsed, CURLUPART_FRAGMENT, 0);

	if (fragment != NULL) {
		free(fragment);
		*why = "a websocket URL has no fragment (#)";
		return -1;
	}
	return take_parts(url, parsed, why);
}

int
conn_url_parse(
    struct conn_url *url, const char *text, bool hides_path, const char **why)
{
	CURLU *parsed;
	CURLUcode code;
	const char *rest;
	char *plain;
	bool is_tls = strncasecmp(text, "wss://", 6) == 0;
	int result = -1;

	*url = (struct conn_url){0};
	if (!is_tls && strncasecmp(text, "ws://", 5) != 0) {
		*why = "the URL does not begin with ws:// or wss://";
		return -1;
	}
	rest = text + strlen(is_tls ? "wss://" : "ws://");
	/* libcurl would overlook one slash more. */
	if (rest[0] == '/') {
		*why = "the URL has no host";
		return -1;
	}
	parsed = curl_url();
	if (parsed == NULL) {
		*why = "libcurl has no URL parser";
		return -1;
	}
	plain = mem_printf("%s://%s", is_tls ? "https" : "http", rest);
	code = curl_url_set(parsed, CURLUPART_URL, plain, CURLU_URLENCODE);
	if (code == CURLUE_OK)
		result = check_parts(url, parsed, why);
	else
		*why = curl_url_strerror(code);
	if (result == -1)
		conn_url_fini(url);
	else
		url->shown = show(url, is_tls, hides_path);
	free(plain);
	curl_url_cleanup(parsed);
	return result;
}

void
conn_url_fini(struct conn_url *url)
{
	free(url->plain);
	free(url->shown);
	free(url->host);
	free(url->target);
	free(url->user);
	free(url->password);
	*url = (struct conn_url){0};
}

/* Says whether proxies of this scheme are known to libcurl. */
static bool
is_proxy_scheme(const char *scheme)
{
	static const char *const known[] = {
	    "http", "https", "socks4", "socks4a", "socks5", "socks5h", "socks"};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (scheme != NULL && strcasecmp(scheme, known[i]) == 0)
			return true;
	return false;
}

const char *
conn_proxy_fault(const char *text)
{
	CURLU *parsed;
	CURLUcode code;
	const char *why = NULL;
	char *scheme = NULL;

	if (text[0] == '\0')
		return NULL;
	parsed = curl_url();
	if (parsed == NULL)
		return "libcurl has no URL parser";
	code = curl_url_set(parsed, CURLUPART_URL, text,
	    CURLU_NON_SUPPORT_SCHEME | CURLU_GUESS_SCHEME);
	if (code == CURLUE_OK)
		scheme = get_part(parsed, CURLUPART_SCHEME, 0);
	if (code != CURLUE_OK)
		why = curl_url_strerror(code);
	else if (!is_proxy_scheme(scheme))
		why = "no proxy has this scheme";
	free(scheme);
	curl_url_cleanup(parsed);
	return why;
}

void
conn_trusted(const char **file, const char **directory)
{
	const curl_version_info_data *about =
	    curl_version_info(CURLVERSION_NOW);

	*file = about->cainfo;
	*directory = about->capath;
}

/* libcurl's word on a descriptor: what to wait for, or no more. */
static int
on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *unused)
{
	struct conn *conn = arg;
	size_t i = 0;

	(void)easy;
	(void)unused;
	while (i < conn->wanted_count && conn->wanted[i].fd != fd)
		i++;
	if (what == CURL_POLL_REMOVE) {
		if (i < conn->wanted_count)
			conn->wanted[i] = conn->wanted[--conn->wanted_count];
		return 0;
	}
	if (i == conn->wanted_room) {
		conn->wanted_room = i == 0 ? FIRST_ROOM : 2 * i;
		conn->wanted = mem_realloc(
		    conn->wanted, conn->wanted_room, sizeof(conn->wanted[0]));
	}
	if (i == conn->wanted_count)
		conn->wanted_count++;
	conn->wanted[i] = (struct wanted){
	    .fd = fd,
	    .events = (short)(((what & CURL_POLL_IN) != 0 ? POLLIN : 0) |
			      ((what & CURL_POLL_OUT) != 0 ? POLLOUT : 0)),
	};
	return 0;
}

/* libcurl's word on when to call it; -1 is never. */
static int
on_timer(CURLM *multi, long timeout_ms, void *arg)
{
	struct conn *conn = arg;

	(void)multi;
	conn->timer_ns = timeout_ms < 0
			     ? LOOP_NEVER
			     : loop_now_ns() + timeout_ms * LOOP_NS_PER_MS;
	return 0;
}

struct conn *
conn_new(const struct conn_options *options, const struct conn_url *url)
{
	struct conn *conn = mem_calloc(1, sizeof(*conn));

	conn->options = options;
	conn->url = url;
	conn->timer_ns = LOOP_NEVER;
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
		free(conn);
		return NULL;
	}
	conn->multi = curl_multi_init();
	if (conn->multi == NULL) {
		curl_global_cleanup();
		free(conn);
		return NULL;
	}
	(void)curl_multi_setopt(
	    conn->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
	(void)curl_multi_setopt(conn->multi, CURLMOPT_SOCKETDATA, conn);
	(void)curl_multi_setopt(conn->multi, CURLMOPT_TIMERFUNCTION, on_timer);
	(void)curl_multi_setopt(conn->multi, CURLMOPT_TIMERDATA, conn);
	return conn;
}

void
conn_free(struct conn *conn)
{
	if (conn == NULL)
		return;
	conn_stop(conn);
	(void)curl_multi_cleanup(conn->multi);
	curl_global_cleanup();
	free(conn->wanted);
	free(conn->watched);
	free(conn);
}

/* Notes why something failed, in libcurl's words for this case if it has any.
 */
static void
note_why(struct conn *conn, CURLcode code)
{
	const char *text =
	    conn->error[0] != '\0' ? conn->error : curl_easy_strerror(code);

	/* It would show the URL, of the environment, with its password. */
	if (strncmp(text, "Unsupported proxy", strlen("Unsupported proxy")) ==
	    0)
		text = "the URL of the proxy cannot be used";
	(void)snprintf(conn->why, sizeof(conn->why), "%s", text);
	conn->error[0] = '\0';
}

/* The options that are text. */
static CURLcode
set_texts(CURL *easy, const struct conn_options *options,
    const struct conn_user *user)
{
	const struct {
		CURLoption option;
		const char *value;
	} table[] = {
	    {CURLOPT_PROTOCOLS_STR, "http,https"},
	    {CURLOPT_PROXY, options->proxy},
	    {CURLOPT_PROXYUSERNAME, user->name},
	    {CURLOPT_PROXYPASSWORD, user->password},
	    {CURLOPT_CAINFO, options->ca_file},
	    {CURLOPT_SSLCERT, options->cert_file},
	    {CURLOPT_SSLKEY, options->key_file},
	    /* Else OpenSSL would ask on the terminal for that of a key. */
	    {CURLOPT_KEYPASSWD, ""},
	};
	CURLcode code = CURLE_OK;

	/* The system's stand in a directory too, beside the file. */
	if (options->ca_file != NULL)
		code = curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (code == CURLE_OK && table[i].value != NULL)
			code = curl_easy_setopt(
			    easy, table[i].option, table[i].value);
	return code;
}

/* The options that are numbers. */
static CURLcode
set_numbers(CURL *easy, const struct conn_options *options)
{
	const struct {
		CURLoption option;
		long value;
	} table[] = {
	    {CURLOPT_CONNECT_ONLY, 1},
	    {CURLOPT_NOSIGNAL, 1},
	    /* Else closing would wait for a name server that is away. */
	    {CURLOPT_QUICK_EXIT, 1},
	    /* A websocket begins in HTTP/1.1; ALPN would else pick h2. */
	    {CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1},
	    /* RFC 6455 4.1: CONNECT, for ws too. */
	    {CURLOPT_HTTPPROXYTUNNEL, 1},
	    /* A server that moved is found by the next try. */
	    {CURLOPT_DNS_CACHE_TIMEOUT, 0},
	    {CURLOPT_FRESH_CONNECT, 1},
	    {CURLOPT_CONNECTTIMEOUT_MS, (long)options->connect_timeout_ms},
	    {CURLOPT_SSLVERSION, CURL_SSLVERSION_TLSv1_2},
	    {CURLOPT_PROXY_SSLVERSION, CURL_SSLVERSION_TLSv1_2},
	    /* Certificates that were replaced are found likewise. */
	    {CURLOPT_CA_CACHE_TIMEOUT, 0},
	    {CURLOPT_SSL_VERIFYPEER, options->is_insecure ? 0 : 1},
	    {CURLOPT_SSL_VERIFYHOST, options->is_insecure ? 0 : 2},
	};
	CURLcode code = CURLE_OK;

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (code == CURLE_OK)
			code = curl_easy_setopt(
			    easy, table[i].option, table[i].value);
	return code;
}

/* Says whether libcurl can read the files without waiting: a FIFO in their
 * place would hold all up. Has set conn_why if not. */
static bool
are_files_regular(struct conn *conn)
{
	const struct conn_options *options = conn->options;
	const char *const paths[] = {
	    options->ca_file, options->cert_file, options->key_file};
	struct stat st;

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		if (paths[i] == NULL || stat(paths[i], &st) == -1 ||
		    S_ISREG(st.st_mode))
			continue;
		(void)snprintf(conn->why, sizeof(conn->why),
		    "%s: not a regular file", paths[i]);
		return false;
	}
	return true;
}

int
conn_start(struct conn *conn, const struct conn_user *user)
{
	CURLcode code = CURLE_OUT_OF_MEMORY;

	if (!are_files_regular(conn))
		return -1;

	conn->error[0] = '\0';
	conn->block_bytes = 0;
	conn->is_hung_up = false;
	conn->easy = curl_easy_init();
	if (conn->easy == NULL)
		goto fail;
	(void)curl_easy_setopt(conn->easy, CURLOPT_ERRORBUFFER, conn->error);
	code = curl_easy_setopt(conn->easy, CURLOPT_URL, conn->url->plain);
	if (code == CURLE_OK)
		code = set_numbers(conn->easy, conn->options);
	if (code == CURLE_OK)
		code = set_texts(conn->easy, conn->options, user);
	if (code != CURLE_OK)
		goto fail;
	if (curl_multi_add_handle(conn->multi, conn->easy) == CURLM_OK)
		return 0;
	code = CURLE_FAILED_INIT;
fail:
	note_why(conn, code);
	curl_easy_cleanup(conn->easy);
	conn->easy = NULL;
	return -1;
}

void
conn_stop(struct conn *conn)
{
	if (conn->easy == NULL)
		return;
	(void)curl_multi_remove_handle(conn->multi, conn->easy);
	curl_easy_cleanup(conn->easy);
	conn->easy = NULL;
	conn->is_up = false;
	conn->wanted_count = 0;
	conn->watched_count = 0;
}

void
conn_watch(struct conn *conn, struct loop *loop, bool writing)
{
	conn->watched_count = 0;
	if (conn->easy == NULL)
		return;
	loop_until(loop, conn->timer_ns);
	if (conn->is_up) {
		conn->slot = loop_watch(
		    loop, conn->fd, (short)(POLLIN | (writing ? POLLOUT : 0)));
		if (!conn->is_drained)
			loop_until(loop, 0);
		return;
	}
	if (conn->watched_room < conn->wanted_count) {
		conn->watched_room = conn->wanted_room;
		conn->watched = mem_realloc(conn->watched, conn->watched_room,
		    sizeof(conn->watched[0]));
	}
	for (size_t i = 0; i < conn->wanted_count; i++) {
		struct wanted *w = &conn->wanted[i];

		w->slot = loop_watch(loop, w->fd, w->events);
		conn->watched[conn->watched_count++] = *w;
	}
}

/* Tells libcurl what poll found. Its calls back change conn->wanted. */
static void
tell_libcurl(struct conn *conn, const struct loop *loop)
{
	int running;

	for (size_t i = 0; i < conn->watched_count; i++) {
		short ready = loop_ready(loop, conn->watched[i].slot);
		int mask = 0;

		if ((ready & (POLLIN | POLLHUP)) != 0)
			mask |= CURL_CSELECT_IN;
		if ((ready & POLLOUT) != 0)
			mask |= CURL_CSELECT_OUT;
		if ((ready & (POLLERR | POLLNVAL)) != 0)
			mask |= CURL_CSELECT_ERR;
		if (mask != 0)
			(void)curl_multi_socket_action(
			    conn->multi, conn->watched[i].fd, mask, &running);
	}
	if (loop_now_ns() >= conn->timer_ns) {
		conn->timer_ns = LOOP_NEVER;
		(void)curl_multi_socket_action(
		    conn->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	}
}

/* Says whether what is written may go into TLS: that of the server, or that of
 * a proxy which was asked for a tunnel; which one, the environment may say. */
static bool
may_be_tls(const struct conn *conn)
{
	long tunnel = 0;

	(void)curl_easy_getinfo(conn->easy, CURLINFO_HTTP_CONNECTCODE, &tunnel);
	return tunnel != 0 || strncmp(conn->url->plain, "https:", 6) == 0;
}

/* Looks whether libcurl has finished connecting, well or not. */
static enum conn_status
finish_connecting(struct conn *conn)
{
	CURLcode code = CURLE_OK;
	CURLMsg *msg;
	int left;

	msg = curl_multi_info_read(conn->multi, &left);
	if (msg == NULL)
		return CONN_CONNECTING;
	code = msg->data.result;
	if (code == CURLE_OK) {
		code = curl_easy_getinfo(
		    conn->easy, CURLINFO_ACTIVESOCKET, &conn->fd);
		if (code == CURLE_OK && conn->fd == CURL_SOCKET_BAD)
			code = CURLE_COULDNT_CONNECT;
	}
	if (code != CURLE_OK) {
		note_why(conn, code);
		conn_stop(conn);
		return CONN_DOWN;
	}
	if (io_set_unsent_limit(conn->fd, UNSENT_BYTES) == -1)
		log_debug("TCP_NOTSENT_LOWAT: %m");
	conn->silence_ms = 0;
	conn->may_be_tls = may_be_tls(conn);
	conn->is_up = true;
	conn->is_drained = true;
	conn->watched_count = 0;
	return CONN_UP;
}

enum conn_status
conn_turn(struct conn *conn, const struct loop *loop)
{
	if (conn->easy == NULL)
		return CONN_DOWN;
	tell_libcurl(conn, loop);
	return conn->is_up ? CONN_UP : finish_connecting(conn);
}

void
conn_allow_silence(struct conn *conn, uint64_t ms)
{
	if (!conn->is_up || conn->silence_ms == ms)
		return;
	conn->silence_ms = ms;
	if (io_set_silence_timeout(conn->fd, ms) == -1)
		log_debug("timeouts of TCP: %m");
}

/* Says whether reading or writing failed because the peer is gone: TLS has
 * words of its own for that, but its socket is at its end then too. */
static bool
is_gone(const struct conn *conn)
{
	long error = 0;
	char byte;

	(void)curl_easy_getinfo(conn->easy, CURLINFO_OS_ERRNO, &error);
	switch (error) {
	case ECONNRESET:
	case EPIPE:
		return true;
	case ETIMEDOUT:
	case EHOSTUNREACH:
	case EHOSTDOWN:
	case ENETUNREACH:
	case ENETDOWN:
		/* TCP has given up; its socket is at its end as well. */
		return false;
	default:
		break;
	}
	return recv(conn->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

/* Notes why reading or writing failed. */
static void
note_loss(struct conn *conn, CURLcode code)
{
	conn->is_hung_up = is_gone(conn);
	note_why(conn, code);
}

bool
conn_is_readable(const struct conn *conn, const struct loop *loop)
{
	return !conn->is_drained || loop_ready(loop, conn->slot) != 0;
}

int
conn_recv(struct conn *conn, void *to, size_t room, size_t *bytes)
{
	CURLcode code;

	*bytes = 0;
	code = curl_easy_recv(conn->easy, to, room, bytes);
	if (code == CURLE_AGAIN) {
		conn->is_drained = true;
		return 0;
	}
	conn->is_drained = false;
	if (code == CURLE_OK && *bytes > 0)
		return 0;
	if (code == CURLE_OK) {
		conn->is_hung_up = true;
		(void)snprintf(conn->why, sizeof(conn->why),
		    "the server closed the connection");
	} else {
		note_loss(conn, code);
	}
	return -1;
}

int
conn_send(struct conn *conn, const void *data, size_t bytes, size_t *sent)
{
	const void *from = data;
	size_t n = bytes;
	CURLcode code;

	/* OpenSSL wants a write that it could not finish repeated with the
	 * same memory, and the caller's may move: so TLS writes from here. */
	if (conn->may_be_tls) {
		if (conn->block_bytes == 0) {
			conn->block_bytes =
			    bytes < BLOCK_BYTES ? bytes : BLOCK_BYTES;
			memcpy(conn->block, data, conn->block_bytes);
		}
		from = conn->block;
		n = conn->block_bytes;
	}
	*sent = 0;
	code = curl_easy_send(conn->easy, from, n, sent);
	if (code == CURLE_AGAIN)
		return 0;
	if (code != CURLE_OK) {
		note_loss(conn, code);
		return -1;
	}
	if (conn->may_be_tls) {
		conn->block_bytes -= *sent;
		memmove(conn->block, conn->block + *sent, conn->block_bytes);
	}
	return 0;
}

const char *
conn_why(const struct conn *conn)
{
	return conn->why;
}

bool
conn_was_hung_up(const struct conn *conn)
{
	return conn->is_hung_up;
}
