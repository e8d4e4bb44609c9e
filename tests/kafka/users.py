"""A broker that wants to know who speaks to it."""

from typing import Final

JAAS: Final = "org.apache.kafka.common.security.plain.PlainLoginModule required"

WITH_USERS: Final = f"""
listeners=SASL_PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller_port
advertised.listeners=SASL_PLAINTEXT://127.0.0.1:$port
listener.security.protocol.map=CONTROLLER:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT
security.inter.broker.protocol=SASL_PLAINTEXT
sasl.enabled.mechanisms=PLAIN
sasl.mechanism.inter.broker.protocol=PLAIN
listener.name.sasl_plaintext.plain.sasl.jaas.config={JAAS} username="broker" password="b" \
 user_broker="b" user_relay="r";
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:broker;User:ANONYMOUS
connection.failed.authentication.delay.ms=20
auto.create.topics.enable=true
"""
"""`broker` (password `b`) may do everything; `relay` (password `r`) nothing, unless it is allowed."""
