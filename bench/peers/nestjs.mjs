/** @nestjs/terminus on the Fastify adapter. What its documentation writes as decorators is called by hand here. */
import 'reflect-metadata'
import { Controller, Get, Module } from '@nestjs/common'
import { NestFactory } from '@nestjs/core'
import { FastifyAdapter } from '@nestjs/platform-fastify'
import { HealthCheck, HealthCheckService, HealthIndicatorService, TerminusModule } from '@nestjs/terminus'
import { Redis } from 'ioredis'
import pg from 'pg'

const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL })
const redis = new Redis(process.env.REDIS_URL)

class HealthController {
  constructor(health, indicators) {
    this.health = health
    this.indicators = indicators
  }

  check() {
    return this.health.check([
      () => this.isHealthy('database', () => pool.query('select 1')),
      () => this.isHealthy('redis', () => redis.ping()),
    ])
  }

  async isHealthy(key, ask) {
    const indicator = this.indicators.check(key)
    try {
      await ask()
      return indicator.up()
    } catch {
      return indicator.down()
    }
  }

  onApplicationShutdown() {
    redis.disconnect()
    return pool.end()
  }
}
Reflect.defineMetadata('design:paramtypes', [HealthCheckService, HealthIndicatorService], HealthController)
const check = Object.getOwnPropertyDescriptor(HealthController.prototype, 'check')
for (const decorate of [HealthCheck(), Get()]) decorate(HealthController.prototype, 'check', check)
Object.defineProperty(HealthController.prototype, 'check', check)
Controller('health')(HealthController)

class AppModule {}
Module({ imports: [TerminusModule], controllers: [HealthController] })(AppModule)

const app = await NestFactory.create(AppModule, new FastifyAdapter())
app.enableShutdownHooks()
await app.listen(Number(process.env.PORT), '127.0.0.1')
