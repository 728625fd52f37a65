# Where the scripts beside this file find Java, the configuration and the classes.
JAVA=java
ZOOCFGDIR=${ZOOCFGDIR:-/conf}
ZOOCFG=$ZOOCFGDIR/zoo.cfg
ZOO_LOG_DIR=${ZOO_LOG_DIR:-/logs}
JMXDISABLE=true
# slf4j-simple logs to standard error; without a logger ZooKeeper says nothing at all. Debian's jar
# does not name the two of netty, which TLS needs.
lib=/usr/share/java
CLASSPATH=$ZOOCFGDIR:$lib/zookeeper.jar:$lib/slf4j-simple.jar:$lib/netty-codec.jar:$lib/netty-resolver.jar
