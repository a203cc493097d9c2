#include "supervisor/url.h"

#include "stage/envtext.h"
#include "stage/number.h"

#include <arpa/inet.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

#define LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
#define HOST_CHARS LETTERS "0123456789-._~"

/* Says whether `at` is an IPv6 address, with a zone behind a %, or without. */
static bool
is_ipv6(const char *at, size_t bytes)
{
	const char *zone = memchr(at, '%', bytes);
	char text[INET6_ADDRSTRLEN];
	struct in6_addr ignored;
	size_t text_bytes = zone == NULL ? bytes : (size_t)(zone - at);

	if (text_bytes >= sizeof(text))
		return false;
	memcpy(text, at, text_bytes);
	text[text_bytes] = '\0';
	if (inet_pton(AF_INET6, text, &ignored) != 1)
		return false;
	return zone == NULL ||
	       (bytes > text_bytes + 1 &&
		   strspn(zone + 1, HOST_CHARS) == bytes - text_bytes - 1);
}

/* Says whether the host, and the port if there is one, can be. The sink would
 * refuse another for good, and with it end all that runs. */
static bool
is_authority(const char *at, size_t bytes)
{
	const char *host_end = memchr(at, ':', bytes);
	char port[8];
	size_t port_bytes;
	uint64_t number;

	if (bytes > 0 && at[0] == '[') {
		host_end = memchr(at, ']', bytes);
		if (host_end == NULL ||
		    !is_ipv6(at + 1, (size_t)(host_end - at - 1)))
			return false;
		host_end++;
	} else {
		if (host_end == NULL)
			host_end = at + bytes;
		if (strspn(at, HOST_CHARS) != (size_t)(host_end - at))
			return false;
	}
	if (host_end == at + bytes)
		return bytes > 0;
	port_bytes = (size_t)(at + bytes - host_end);
	if (host_end == at || *host_end != ':' || port_bytes > sizeof(port))
		return false;
	memcpy(port, host_end + 1, port_bytes - 1);
	port[port_bytes - 1] = '\0';
	return number_parse(port, 1, 65535, &number) == 0;
}

/* Says whether a query has a member that is a secret by its name, and whose
 * value stands there as it is. */
static bool
has_plain_secret(const char *url)
{
	static const char *const names[] = {"token", "access_token",
	    "auth_token", "id_token", "jwt", "api_key", "apikey", "api-key",
	    "secret", "client_secret", "password", "passwd"};
	const char *at = strchr(url, '?');

	while (at != NULL) {
		size_t bytes = strcspn(++at, "=&;");

		for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
			if (bytes == strlen(names[i]) && at[bytes] == '=' &&
			    strncasecmp(at, names[i], bytes) == 0 &&
			    strncmp(at + bytes, "=${env:", 7) != 0)
				return true;
		at = strpbrk(at, "&;");
	}
	return false;
}

/* Says whether all of a url is of bytes that can be in one. */
static bool
is_printable(const char *url)
{
	for (; *url != '\0'; url++)
		if (*url <= 0x20 || *url >= 0x7f || *url == '#')
			return false;
	return true;
}

bool
url_check(const char *url, const char **why)
{
	const char *host;
	size_t bytes;

	if (strncasecmp(url, "ws://", 5) == 0) {
		host = url + 5;
	} else if (strncasecmp(url, "wss://", 6) == 0) {
		host = url + 6;
	} else {
		*why = "the url must begin with ws:// or wss://";
		return false;
	}
	if (!is_printable(url)) {
		*why = "the url must be printable ASCII without space or #";
		return false;
	}
	bytes = strcspn(host, "/?");
	if (memchr(host, '@', bytes) != NULL) {
		*why = "user and password do not belong in a url, where every "
		       "user of the machine can read them; put them into a "
		       "file and name it with basic_auth_file";
		return false;
	}
	if (!is_authority(host, bytes)) {
		*why = "the url needs a host, and a port from 1 to 65535 if "
		       "any";
		return false;
	}
	if (envtext_fault(url, &bytes) != NULL) {
		*why = "a \"${\" that is no ${env:NAME}";
		return false;
	}
	if (has_plain_secret(host)) {
		*why = "a secret does not belong in the query of a url, where "
		       "every user of the machine can read it; write "
		       "${env:NAME} in its place";
		return false;
	}
	return true;
}

bool
url_proxy_check(const char *url, const char **why)
{
	static const char *const schemes[] = {
	    "http", "https", "socks4", "socks4a", "socks5", "socks5h", "socks"};
	const char *host = strstr(url, "://");
	size_t count = sizeof(schemes) / sizeof(schemes[0]), i = 0;

	if (strchr(url, '@') != NULL) {
		*why = "user and password do not belong here, where every "
		       "user of the machine can read them; put them into a "
		       "file and name it with proxy_auth_file";
		return false;
	}
	while (host != NULL && i < count &&
	       (strlen(schemes[i]) != (size_t)(host - url) ||
		   strncasecmp(url, schemes[i], strlen(schemes[i])) != 0))
		i++;
	if (i == count) {
		*why = "a proxy is one of http, https, socks4, socks4a, socks5 "
		       "and socks5h";
		return false;
	}
	host = host == NULL ? url : host + 3;
	if (!is_printable(url) || !is_authority(host, strcspn(host, "/?"))) {
		*why = "a proxy needs a host, and a port from 1 to 65535 if "
		       "any";
		return false;
	}
	return true;
}
