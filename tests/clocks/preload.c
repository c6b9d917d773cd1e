/* Preloaded into elect and its guard: clocks that run fast or slow, and a suspend.
 *
 *   ELECT_CLOCK_RATE    how fast the monotonic clocks run, 1.04 for 4 % too fast
 *   ELECT_CLOCK_ORIGIN  nanoseconds of the true clock at which they show the true time
 *   ELECT_CLOCK_JUMP    a file with nanoseconds: once it is there, CLOCK_BOOTTIME is ahead by them
 *   ELECT_CLOCK_BOOT    a file that is shown as the machine's boot identity
 *
 * What waits for these clocks waits accordingly: futexes, sleeps and timerfds. poll, ppoll, select
 * and epoll with a timeout do not; elect uses none.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL
#define TIMERS 64

static long (*real_syscall)(long, ...);
static int (*real_gettime)(clockid_t, struct timespec *);
static int (*real_nanosleep)(clockid_t, int, const struct timespec *, struct timespec *);
static int (*real_settime)(int, int, const struct itimerspec *, struct itimerspec *);
static int (*real_open)(const char *, int, ...);

static double rate = 1;
static long long origin;
static const char *jump_file, *boot_file;

/* Timers set to an instant of CLOCK_BOOTTIME, which a suspend brings nearer. */
static struct {
    int fd, set;
    long long at;
} timers[TIMERS];
static pthread_mutex_t timers_lock = PTHREAD_MUTEX_INITIALIZER;

static long long nanos(const struct timespec *t) { return t->tv_sec * SECOND + t->tv_nsec; }

static struct timespec spec(long long n) {
    if (n < 0)
        n = 0;
    struct timespec t = {n / SECOND, n % SECOND};
    return t;
}

static long long jump(void) {
    char text[32] = "";
    int fd = jump_file ? real_open(jump_file, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return 0;
    long long got = read(fd, text, sizeof text - 1);
    close(fd);
    return got > 0 ? atoll(text) : 0;
}

static int is_scaled(clockid_t clock) {
    return clock == CLOCK_MONOTONIC || clock == CLOCK_MONOTONIC_RAW ||
           clock == CLOCK_MONOTONIC_COARSE || clock == CLOCK_BOOTTIME;
}

/* From what the clock shows to the truth. Far instants stay far. */
static long long true_instant(clockid_t clock, long long shown) {
    if (clock == CLOCK_BOOTTIME)
        shown -= jump();
    double true_time = origin + (shown - origin) / rate;
    return true_time > 9e18 ? (long long)9e18 : (long long)true_time;
}

static struct timespec true_span(const struct timespec *shown) {
    double span = nanos(shown) / rate;
    return spec(span > 9e18 ? (long long)9e18 : (long long)span);
}

int clock_gettime(clockid_t clock, struct timespec *t) {
    int result = real_gettime(clock, t);
    if (result == 0 && is_scaled(clock)) {
        long long shown = origin + (long long)((nanos(t) - origin) * rate);
        *t = spec(shown + (clock == CLOCK_BOOTTIME ? jump() : 0));
    }
    return result;
}

long syscall(long number, ...) {
    va_list list;
    long a[6];
    va_start(list, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(list, long);
    va_end(list);
    struct timespec t;
    if (number == SYS_futex && a[3]) {
        int op = a[1] & FUTEX_CMD_MASK;
        const struct timespec *given = (const struct timespec *)a[3];
        if (op == FUTEX_WAIT)
            t = true_span(given);
        else if (op == FUTEX_WAIT_BITSET && !(a[1] & FUTEX_CLOCK_REALTIME))
            t = spec(true_instant(CLOCK_MONOTONIC, nanos(given)));
        else
            return real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
        a[3] = (long)&t;
    }
    return real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

int clock_nanosleep(clockid_t clock, int flags, const struct timespec *span,
                    struct timespec *left) {
    if (!is_scaled(clock))
        return real_nanosleep(clock, flags, span, left);
    struct timespec t = flags & TIMER_ABSTIME ? spec(true_instant(clock, nanos(span)))
                                              : true_span(span);
    return real_nanosleep(clock, flags, &t, left);
}

int nanosleep(const struct timespec *span, struct timespec *left) {
    struct timespec t = true_span(span);
    return real_nanosleep(CLOCK_MONOTONIC, 0, &t, left);
}

static int set_at(int fd, long long shown) {
    long long at = true_instant(CLOCK_BOOTTIME, shown);
    struct itimerspec value = {{0, 0}, spec(at > 0 ? at : 1)};
    return real_settime(fd, TFD_TIMER_ABSTIME, &value, NULL);
}

/* elect's timers are all of CLOCK_BOOTTIME. */
int timerfd_settime(int fd, int flags, const struct itimerspec *value, struct itimerspec *old) {
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    long long at = nanos(&value->it_value);
    if (at == 0)
        return real_settime(fd, flags, value, old);
    if (!(flags & TFD_TIMER_ABSTIME))
        at += nanos(&now);
    pthread_mutex_lock(&timers_lock);
    for (int i = 0; i < TIMERS; i++)
        if (!timers[i].set || timers[i].fd == fd) {
            timers[i].set = 1;
            timers[i].fd = fd;
            timers[i].at = at;
            break;
        }
    int result = set_at(fd, at);
    pthread_mutex_unlock(&timers_lock);
    return result;
}

static int open_as(const char *path, int flags, mode_t mode) {
    if (boot_file && strcmp(path, "/proc/sys/kernel/random/boot_id") == 0)
        path = boot_file;
    return real_open(path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    va_list list;
    va_start(list, flags);
    mode_t mode = va_arg(list, int);
    va_end(list);
    return open_as(path, flags, mode);
}

int open(const char *path, int flags, ...) {
    va_list list;
    va_start(list, flags);
    mode_t mode = va_arg(list, int);
    va_end(list);
    return open_as(path, flags, mode);
}

/* After a suspend the kernel fires what has become due; so does this. */
static void *watch(void *nothing) {
    long long before = jump();
    struct timespec pause = {0, 2000000};
    for (;;) {
        real_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
        long long now = jump();
        if (now == before)
            continue;
        before = now;
        pthread_mutex_lock(&timers_lock);
        for (int i = 0; i < TIMERS; i++)
            if (timers[i].set)
                set_at(timers[i].fd, timers[i].at);
        pthread_mutex_unlock(&timers_lock);
    }
    return nothing;
}

__attribute__((constructor)) static void begin(void) {
    real_syscall = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
    real_gettime = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    real_nanosleep = (int (*)(clockid_t, int, const struct timespec *, struct timespec *))dlsym(
        RTLD_NEXT, "clock_nanosleep");
    real_settime = (int (*)(int, int, const struct itimerspec *, struct itimerspec *))dlsym(
        RTLD_NEXT, "timerfd_settime");
    real_open = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open64");
    const char *text = getenv("ELECT_CLOCK_RATE");
    rate = text ? atof(text) : 1;
    text = getenv("ELECT_CLOCK_ORIGIN");
    origin = text ? atoll(text) : 0;
    jump_file = getenv("ELECT_CLOCK_JUMP");
    boot_file = getenv("ELECT_CLOCK_BOOT");
    if (jump_file) {
        sigset_t all, old;
        pthread_t thread;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &old);
        pthread_create(&thread, NULL, watch, NULL);
        pthread_sigmask(SIG_SETMASK, &old, NULL);
    }
}
