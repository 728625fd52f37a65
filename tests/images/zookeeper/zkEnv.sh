# Where the scripts beside this file find Java, the configuration and the classes.
JAVA=java
ZOOCFGDIR=${ZOOCFGDIR:-/conf}
ZOOCFG=$ZOOCFGDIR/zoo.cfg
ZOO_LOG_DIR=${ZOO_LOG_DIR:-/logs}
JMXDISABLE=true
# slf4j-simple logs to standard error; without a logger ZooKeeper says nothing at all.
CLASSPATH=$ZOOCFGDIR:/usr/share/java/zookeeper.jar:/usr/share/java/slf4j-simple.jar
