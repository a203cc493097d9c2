#include "wssink/permit.h"

#include "stage/confine.h"
#include "stage/io.h"
#include "stage/log.h"
#include "stage/mem.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#define NSSWITCH "/etc/nsswitch.conf"
/* nscd(8), which the C library asks before anybody else. */
#define NSCD "/var/run/nscd/socket"
#define NSSWITCH_BYTES ((size_t)64 << 10)
#define FIRST_ROOM 32

/* What getaddrinfo(3) reads; see nsswitch.conf(5), resolv.conf(5). */
static const char *const resolver_files[] = {
    NSSWITCH,
    "/etc/hosts",
    "/etc/resolv.conf",
    "/etc/host.conf",
    "/etc/gai.conf",
    "/etc/services",
};

/* Says whether there is a file that permissions allow to read, but not to us.
 */
static bool
is_refused(const char *path)
{
	struct stat st;
	int fd, error;

	/* What is no regular file is read once, before: auth_read. */
	if (stat(path, &st) == -1 || !S_ISREG(st.st_mode) || st.st_size == 0 ||
	    access(path, R_OK) == -1)
		return false;
	fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	error = errno;
	if (fd != -1)
		(void)close(fd);
	return fd == -1 && error == EACCES;
}

/* Adds a path, which it takes over. */
static void
add(struct permit *permit, char *path, bool is_watched)
{
	if (permit->count == permit->room) {
		permit->room =
		    permit->room == 0 ? FIRST_ROOM : 2 * permit->room;
		permit->paths = mem_realloc(
		    permit->paths, permit->room, sizeof(permit->paths[0]));
	}
	permit->paths[permit->count++] =
	    (struct permit_path){.path = path, .is_watched = is_watched};
}

/* Adds a file, if one is named. Where something else than this confinement
 * refuses it already, beginning anew would not help. */
static void
add_file(struct permit *permit, const char *path)
{
	if (path != NULL)
		add(permit, mem_strdup(path), !is_refused(path));
}

/* Adds a directory, and where the links in it lead. */
static void
add_directory(struct permit *permit, const char *path)
{
	DIR *entries = opendir(path);
	const struct dirent *entry;

	if (entries == NULL)
		return;
	add(permit, mem_strdup(path), false);
	while ((entry = readdir(entries)) != NULL)
		if (entry->d_type == DT_LNK || entry->d_type == DT_UNKNOWN)
			add(permit, mem_printf("%s/%s", path, entry->d_name),
			    false);
	(void)closedir(entries);
}

/* Says whether a proxy is a socket of the Unix domain, as libcurl names it:
 * socks5h://localhost/run/socket (CURLOPT_PROXY(3)). */
static bool
is_local(const char *proxy)
{
	static const char host[] = "://localhost/";
	const char *at = proxy == NULL ? NULL : strstr(proxy, host);

	return at != NULL && strncasecmp(proxy, "socks", 5) == 0 &&
	       at[strlen(host)] != '\0';
}

/* Says so of the proxy that the environment may name (libcurl-env(3)). */
static bool
has_local_in_environment(void)
{
	static const char *const names[] = {"http_proxy", "https_proxy",
	    "HTTPS_PROXY", "all_proxy", "ALL_PROXY"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (is_local(getenv(names[i])))
			return true;
	return false;
}

void
permit_init(struct permit *permit, const struct auth_sources *sources,
    const struct conn_options *options)
{
	const char *trusted_file, *trusted_directory;

	*permit = (struct permit){
	    .has_local_proxy = options->proxy == NULL
				   ? has_local_in_environment()
				   : is_local(options->proxy),
	};
	for (size_t i = 0; i < AUTH_FILES; i++)
		add_file(permit, sources->files[i]);
	add_file(permit, options->ca_file);
	add_file(permit, options->cert_file);
	add_file(permit, options->key_file);
	for (size_t i = 0;
	     i < sizeof(resolver_files) / sizeof(resolver_files[0]); i++)
		add_file(permit, resolver_files[i]);
	/* With an authority named, too: a proxy may have another. */
	conn_trusted(&trusted_file, &trusted_directory);
	add_file(permit, trusted_file);
	if (trusted_directory != NULL)
		add_directory(permit, trusted_directory);
}

void
permit_fini(struct permit *permit)
{
	for (size_t i = 0; i < permit->count; i++)
		free(permit->paths[i].path);
	free(permit->paths);
	*permit = (struct permit){0};
}

/* Loads a module of the name service switch. */
static void
load_module(const char *name)
{
	char *library = mem_printf("libnss_%s.so.2", name);

	if (dlopen(library, RTLD_NOW) == NULL)
		log_debug("%s: %s", library, dlerror());
	free(library);
}

/* Says whether a module asks nobody on this machine, but reads files or asks
 * the DNS. */
static bool
is_plain(const char *module)
{
	return strcmp(module, "files") == 0 || strcmp(module, "dns") == 0;
}

/* Loads the modules that a line of nsswitch.conf(5) names. Returns whether one
 * of them may ask a daemon on this machine. */
static bool
load_modules(char *line)
{
	char *rest = line, *word;
	bool is_action = false, has_daemon = false;

	while ((word = strsep(&rest, " \t")) != NULL) {
		/* [NOTFOUND=return] stands between the names. */
		is_action = is_action || word[0] == '[';
		if (!is_action && word[0] != '\0') {
			load_module(word);
			has_daemon |= !is_plain(word);
		}
		if (strchr(word, ']') != NULL)
			is_action = false;
	}
	return has_daemon;
}

/*
 * Loads what the C library would load later: who is asked for names, and what
 * ends a thread. No code can be loaded once this process is confined. Returns
 * whether a daemon on this machine is asked for names.
 */
static bool
load_libraries(void)
{
	static const char key[] = "hosts:";
	bool has_daemon = access(NSCD, F_OK) == 0;
	size_t bytes;
	char *text = io_read_file(NSSWITCH, NSSWITCH_BYTES, &bytes);
	char *rest = text, *line;

	(void)dlopen("libgcc_s.so.1", RTLD_NOW);
	while ((line = strsep(&rest, "\n")) != NULL) {
		line += strspn(line, " \t");
		line[strcspn(line, "#")] = '\0';
		if (strncmp(line, key, strlen(key)) == 0)
			has_daemon |= load_modules(line + strlen(key));
	}
	free(text);
	return has_daemon;
}

int
permit_enter(const struct permit *permit)
{
	struct confine_path *paths =
	    mem_calloc(permit->count + 1, sizeof(*paths));
	bool has_daemon = load_libraries();
	enum confine_work work = has_daemon || permit->has_local_proxy
				     ? CONFINE_NET_AND_UNIX
				     : CONFINE_NET;
	int result;

	for (size_t i = 0; i < permit->count; i++)
		paths[i] = (struct confine_path){
		    .path = permit->paths[i].path, .access = CONFINE_READ};
	result = confine_enter(work, paths, permit->count);
	free(paths);
	return result;
}

const char *
permit_replaced(const struct permit *permit)
{
	for (size_t i = 0; i < permit->count; i++)
		if (permit->paths[i].is_watched &&
		    is_refused(permit->paths[i].path))
			return permit->paths[i].path;
	return NULL;
}
