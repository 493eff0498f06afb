/* One probe at a time, each on a fresh connection with the kubelet's bytes, read to the end; prober.go is the same without a C compiler.
 *
 *     prober GAP_US ROUNDS PORT...
 *
 * Asks every port once a round, GAP_US from start to start (0: back to back). With 0 rounds it goes on until the first 200. Prints
 * a line a probe: the port, when it began (CLOCK_MONOTONIC, ns), the ns it took, the status (0: no answer within a second). */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const char REQUEST[] = "GET /healthy HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUser-Agent: kube-probe/1.36\r\n"
                              "Accept: */*\r\nConnection: close\r\n\r\n";

static long long now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void rest_until(long long when) {
    struct timespec t = {when / 1000000000LL, when % 1000000000LL};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) != 0) {
    }
}

/* Return the answer's status; 0 where there is none, or where it breaks off. */
static int ask(int port) {
    struct sockaddr_in app = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval second = {1, 0};
    char buffer[16384], request[sizeof REQUEST + 8];
    int status = 0, length = snprintf(request, sizeof request, REQUEST, port);
    ssize_t got, size = 0;

    int fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof second);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &second, sizeof second);
    if (connect(fd, (struct sockaddr *)&app, sizeof app) == 0 && write(fd, request, length) == length) {
        while ((got = read(fd, buffer + size, sizeof buffer - 1 - size)) > 0)
            size += got;
        buffer[size] = 0;
        if (got == 0 && strncmp(buffer, "HTTP/1.1 ", 9) == 0)
            status = atoi(buffer + 9);
    }
    close(fd);
    return status;
}

int main(int count, char **words) {
    long long gap = count > 3 ? atoll(words[1]) * 1000 : 0, next = now();
    long rounds = count > 3 ? atol(words[2]) : 1;

    setvbuf(stdout, NULL, _IOFBF, 1 << 22); /* nothing is written while we measure */
    for (long round = 0; rounds == 0 || round < rounds; round++) {
        for (int i = 3; i < count; i++, next += gap) {
            int port = atoi(words[i]);
            if (gap)
                rest_until(next);
            long long began = now();
            int status = ask(port);
            printf("%d %lld %lld %d\n", port, began, now() - began, status);
            if (rounds == 0 && status == 200)
                return 0;
        }
    }
    return 0;
}
