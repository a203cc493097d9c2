#include "supervisor/url.h"

#include "stage/envtext.h"
#include "stage/number.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

/* Says whether the host, and the port if there is one, can be. */
static bool
is_authority(const char *at, size_t bytes)
{
	const char *host_end = memchr(at, ':', bytes);
	char port[8];
	size_t port_bytes;
	uint64_t number;

	if (bytes > 0 && at[0] == '[') {
		host_end = memchr(at, ']', bytes);
		if (host_end == NULL || host_end == at + 1)
			return false;
		host_end++;
		if (host_end == at + bytes)
			return true;
	}
	if (host_end == NULL)
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
		size_t bytes = strcspn(++at, "=&");

		for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
			if (bytes == strlen(names[i]) && at[bytes] == '=' &&
			    strncasecmp(at, names[i], bytes) == 0 &&
			    strncmp(at + bytes, "=${env:", 7) != 0)
				return true;
		at = strchr(at, '&');
	}
	return false;
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
	for (const char *p = url; *p != '\0'; p++) {
		if (*p > 0x20 && *p < 0x7f && *p != '#')
			continue;
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
